/* The peer of our xenstore client: libxenstore in C. A line in, `read COUNT` or `transact COUNT`; a line out, nanoseconds. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <xenstore.h>

static int64_t now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static void *must(void *value)
{
	if (value == NULL)
		exit(1);
	return value;
}

int main(int argc, char **argv)
{
	struct xs_handle *xs = must(xs_open(0));
	const char *path = argv[1];
	char what[16];
	unsigned length, count;

	while (scanf("%15s %u", what, &count) == 2) {
		int64_t start = now();
		for (unsigned i = 0; i < count; i++) {
			xs_transaction_t t = strcmp(what, "read") == 0 ? XBT_NULL : xs_transaction_start(xs);
			char *value = must(xs_read(xs, t, path, &length));
			if (t != XBT_NULL && !(xs_write(xs, t, path, value, length) && xs_transaction_end(xs, t, 0)))
				return 1;
			free(value);
		}
		printf("%" PRId64 "\n", now() - start);
		fflush(stdout);
	}
	return 0;
}
