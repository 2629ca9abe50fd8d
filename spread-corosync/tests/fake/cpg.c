/* A libcpg of one process. INITIALIZE, JOIN and DISPATCH are what these return. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

struct name { uint32_t len; char value[128]; };
struct address { uint32_t node, pid, reason; };
struct ring { uint32_t node; uint64_t seq; };
struct part { void *base; size_t len; };
struct model {
	int model;
	void (*deliver)(uint64_t, const struct name *, uint32_t, uint32_t, void *, size_t);
	void (*change)(uint64_t, const struct name *, const struct address *, size_t,
	               const struct address *, size_t, const struct address *, size_t);
	void (*ring)(uint64_t, struct ring, uint32_t, const uint32_t *);
	unsigned flags;
};

enum { OK = 1, TRY_AGAIN = 6 };

static struct model model;
static struct name group;
static int fds[2] = {-1, -1};
static int told, busy = 3;
static char message[64], long_message[1047553];
static size_t message_len;

int cpg_model_initialize(uint64_t *handle, int version, struct model *with, void *context)
{
	(void)version, (void)context;
	if (busy-- > 0)
		return TRY_AGAIN;
	if (INITIALIZE != OK)
		return INITIALIZE;
	model = *with;
	*handle = 7;
	return pipe(fds) == 0 ? OK : 2;
}

int cpg_finalize(uint64_t handle)
{
	close(fds[0]);
	close(fds[1]);
	return handle == 7 ? OK : 9;
}

int cpg_fd_get(uint64_t handle, int *fd)
{
	*fd = fds[0];
	return handle == 7 ? OK : 9;
}

int cpg_local_get(uint64_t handle, unsigned *node)
{
	*node = 42;
	return handle == 7 ? OK : 9;
}

int cpg_join(uint64_t handle, const struct name *name)
{
	group = *name;
	return handle == 7 ? JOIN : 9;
}

int cpg_leave(uint64_t handle, const struct name *name)
{
	(void)name;
	return handle == 7 ? OK : 9;
}

int cpg_mcast_joined(uint64_t handle, int guarantee, const struct part *part, unsigned parts)
{
	(void)handle;
	if (guarantee != 2 || parts != 1)
		return 7;
	if (message_len != 0)
		return TRY_AGAIN;
	if (part->len > sizeof message)
		return 26;
	memcpy(message, part->base, part->len);
	message_len = part->len;
	return OK;
}

#ifndef NO_DISPATCH
int cpg_dispatch(uint64_t handle, int how)
{
	uint32_t pid = (uint32_t)getpid();
	struct address me = {42, pid, 1};
	struct ring ring = {42, 1234567890123};

	if (how != 4)
		return 7;
	if (DISPATCH != OK)
		return DISPATCH;
	switch (told++) {
	case 0:
		/* Two callbacks in one call. */
		model.change(handle, &group, &me, 1, NULL, 0, &me, 1);
		model.ring(handle, ring, 1, &me.node);
		return OK;
	default:
		if (message_len == 0)
			return TRY_AGAIN;
		if (memcmp(message, "long", 4) == 0)
			model.deliver(handle, &group, 42, pid, long_message, sizeof long_message);
		else
			model.deliver(handle, &group, 42, pid, message, message_len);
		message_len = 0;
		return OK;
	}
}
#endif
