/*
 * Lets Debian's xenstored run on a machine without Xen: preloaded, it stands in for the hypervisor and for the kernel's
 * files. A domain is what the files in the folder $NO_XEN say:
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
#include <sys/stat.h>
#include <unistd.h>

#define PAGE 4096
#define MAX_DOMAINS 64
#define VIRQ_PORT 1
#define FIRST_DOMAIN_PORT 1000
/* xc_dominfo_t: domid, ssidref, then flags of one bit each, of which the third says that it has shut down. */
#define SHUT_DOWN 4

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

int xc_domain_getinfo(void *xch, uint32_t first, unsigned max, uint32_t *info)
{
	if (access(place("domain", first), F_OK) != 0 && first != 0)
		return 0;
	info[0] = first;
	info[1] = 0;
	info[2] = access(place("ended", first), F_OK) == 0 ? SHUT_DOWN : 0;
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

/* --- libxengnttab: pages of domains --- */

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

int open(const char *path, int flags, ...)
{
	static int (*real)(const char *, int, ...);
	int fd = fake_file(path);
	va_list rest;
	int mode;

	if (fd >= 0)
		return fd;
	if (real == NULL)
		real = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, "open");
	va_start(rest, flags);
	mode = va_arg(rest, int);
	va_end(rest);
	return real(path, flags, mode);
}
