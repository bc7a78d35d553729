/*
 * Lets Debian's two xenstoreds, in C and in OCaml, run on a machine without Xen and without root: preloaded, it stands in
 * for the hypervisor and for the kernel's files. A domain is what the files in the folder $NO_XEN say:
 *
 *   domain-ID      is there; the page that the domain shares with xenstored (xen io/xs_wire.h), 4096 bytes
 *   ended-ID       the domain has shut down
 *   rings          a FIFO: who writes the 32-bit number of an event channel there rings it. 1 is the hypervisor's own, of
 *                  domains that come and go; 1000 + ID is that of a domain
 *   rung-ID        a FIFO: xenstored's rings for the domain, 32 bits each
 *
 * Signatures and constants: xen tools/include/{xenctrl,xenevtchn,xengnttab}.h.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define PAGE 4096
#define MAX_DOMAINS 64
#define VIRQ_PORT 1
#define FIRST_DOMAIN_PORT 1000
/* In the flags of xc_dominfo_t and xc_domaininfo_t alike. */
#define SHUT_DOWN 4
#define DOMAININFO_BYTES 112

static int rings = -1;
static int rung[MAX_DOMAINS];
/* What a handle is does not matter to xenstored, as long as it is one. */
static int handle;

static const char *place(const char *kind, unsigned id)
{
	static char path[512];
	snprintf(path, sizeof path, id == ~0u ? "%s/%s" : "%s/%s-%u", getenv("NO_XEN"), kind, id);
	return path;
}

static int open_fifo(const char *path, int flags)
{
	mkfifo(path, 0600);
	return open(path, O_RDWR | O_NONBLOCK | flags);
}

/* --- libxenctrl: which domains there are --- */

void *xc_interface_open(void *logger, void *dombuild, unsigned flags) { return &handle; }
int xc_interface_close(void *xch) { return 0; }

static int is_there(uint32_t domid) { return domid == 0 || access(place("domain", domid), F_OK) == 0; }
static uint32_t flags_of(uint32_t domid) { return access(place("ended", domid), F_OK) == 0 ? SHUT_DOWN : 0; }

/* xc_dominfo_t: domid, ssidref, flags. For the C daemon. */
int xc_domain_getinfo(void *xch, uint32_t first, unsigned max, uint32_t *info)
{
	if (!is_there(first))
		return 0;
	info[0] = first;
	info[1] = 0;
	info[2] = flags_of(first);
	return 1;
}

/* xc_domaininfo_t: domid in 16 bits, 16 unused, flags, then what nobody looks at. For the OCaml daemon. */
int xc_domain_getinfolist(void *xch, uint32_t first, unsigned max, uint32_t *info)
{
	if (!is_there(first))
		return 0;
	memset(info, 0, DOMAININFO_BYTES);
	info[0] = first;
	info[1] = flags_of(first);
	return 1;
}

/* --- libxenevtchn: rings --- */

void *xenevtchn_open(void *logger, unsigned flags)
{
	/* xenstored keeps it when a live update replaces its program. */
	rings = open_fifo(place("rings", ~0u), 0);
	return rings < 0 ? NULL : &handle;
}

void *xenevtchn_fdopen(void *logger, int fd, unsigned flags)
{
	rings = fd;
	return &handle;
}

int xenevtchn_fd(void *xce) { return rings; }
int xenevtchn_bind_virq(void *xce, unsigned virq) { return VIRQ_PORT; }
int xenevtchn_unbind(void *xce, uint32_t port) { return 0; }
int xenevtchn_unmask(void *xce, uint32_t port) { return 0; }

int xenevtchn_bind_interdomain(void *xce, uint32_t domid, uint32_t remote)
{
	if (domid >= MAX_DOMAINS)
		return -1;
	if (domid != 0 && rung[domid] == 0)
		rung[domid] = open_fifo(place("rung", domid), O_CLOEXEC);
	return FIRST_DOMAIN_PORT + domid;
}

int xenevtchn_notify(void *xce, uint32_t port)
{
	uint32_t domid = port - FIRST_DOMAIN_PORT;
	if (port > FIRST_DOMAIN_PORT && domid < MAX_DOMAINS && rung[domid] > 0)
		return write(rung[domid], &port, sizeof port) == sizeof port ? 0 : -1;
	return 0;
}

int xenevtchn_pending(void *xce)
{
	uint32_t port;
	return read(rings, &port, sizeof port) == sizeof port ? (int)port : -1;
}

/* --- pages of domains: by libxengnttab for the C daemon, by libxenctrl for the OCaml one --- */

void *xengnttab_open(void *logger, unsigned flags) { return &handle; }
int xengnttab_close(void *xgt) { return 0; }
int xengnttab_set_max_grants(void *xgt, uint32_t count) { return 0; }
int xengnttab_unmap(void *xgt, void *start, uint32_t count) { return munmap(start, PAGE); }

void *xengnttab_map_grant_ref(void *xgt, uint32_t domid, uint32_t ref, int prot)
{
	int fd = open(place("domain", domid), O_RDWR | O_CLOEXEC);
	void *page = fd < 0 ? MAP_FAILED : mmap(NULL, PAGE, prot, MAP_SHARED, fd, 0);
	if (fd >= 0)
		close(fd);
	return page == MAP_FAILED ? NULL : page;
}

void *xc_map_foreign_range(void *xch, uint32_t domid, int size, int prot, unsigned long frame)
{
	return xengnttab_map_grant_ref(NULL, domid, 0, prot);
}

/* --- the kernel's files by which xenstored finds dom0's own page --- */

static int fake_file(const char *path)
{
	if (strcmp(path, "/proc/xen/xsd_port") != 0 && strcmp(path, "/proc/xen/xsd_kva") != 0)
		return -1;
	int fd = memfd_create("no-xen", MFD_CLOEXEC);
	if (strstr(path, "port") != NULL) {
		if (write(fd, "1", 1) != 1)
			return -1;
		lseek(fd, 0, SEEK_SET);
	} else if (ftruncate(fd, PAGE) != 0) {
		return -1;
	}
	return fd;
}

static int open_as(const char *name, const char *path, int flags, int mode)
{
	int fd = fake_file(path);
	return fd >= 0 ? fd : ((int (*)(const char *, int, ...))dlsym(RTLD_NEXT, name))(path, flags, mode);
}

int open(const char *path, int flags, ...)
{
	va_list rest;
	va_start(rest, flags);
	int mode = va_arg(rest, int);
	va_end(rest);
	return open_as("open", path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
	va_list rest;
	va_start(rest, flags);
	int mode = va_arg(rest, int);
	va_end(rest);
	return open_as("open64", path, flags, mode);
}

/* --- what the OCaml daemon does besides: its socket has a fixed place, and it wants more open files than it may have --- */

int bind(int fd, const struct sockaddr *address, socklen_t length)
{
	struct sockaddr_un own = { .sun_family = AF_UNIX };
	const char *path = ((const struct sockaddr_un *)address)->sun_path;
	int (*real)(int, const struct sockaddr *, socklen_t) = dlsym(RTLD_NEXT, "bind");

	if (address->sa_family != AF_UNIX || strcmp(path, "/var/run/xenstored/socket") != 0)
		return real(fd, address, length);
	snprintf(own.sun_path, sizeof own.sun_path, "%s/socket", getenv("NO_XEN"));
	unlink(own.sun_path);
	return real(fd, (const struct sockaddr *)&own, sizeof own);
}

int setrlimit(__rlimit_resource_t resource, const struct rlimit *limit) { return 0; }
