#include "common.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

const char *daemon_address;

int run_test(int argc, char **argv, const struct test *tests, size_t count)
{
    size_t i;

    if (argc == 1) {
        for (i = 0; i < count; i++)
            puts(tests[i].name);
        return 0;
    }
    for (i = 0; argc == 3 && i < count; i++) {
        if (strcmp(tests[i].name, argv[2]) == 0) {
            daemon_address = argv[1];
            alarm(PATIENCE);
            tests[i].run();
            return 0;
        }
    }
    fprintf(stderr, "usage: %s [DAEMON TEST]\n", argv[0]);
    return 2;
}

double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

int is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

int open_descriptors(void)
{
    int fd, count = 0;

    for (fd = 0; fd < 1024; fd++)
        count += is_open(fd);
    return count;
}

pid_t fork_bounded(void)
{
    pid_t child;

    fflush(NULL);
    child = fork();
    CHECK(child >= 0);
    if (child == 0)
        alarm(PATIENCE);
    return child;
}

void child_succeeds(pid_t child)
{
    int status = -1;

    CHECK_IS(waitpid(child, &status, 0), child);
    CHECK_IS(status, 0);
}

mailbox connected_to(const char *address, const char *name, char private_group[MAX_GROUP_NAME])
{
    mailbox mbox = -1;
    sp_time patience = { 20, 0 };

    CHECK_IS(SP_connect_timeout(address, name, 0, 1, &mbox, private_group, patience),
             ACCEPT_SESSION);
    CHECK(mbox >= 0 && private_group[0] == '#');
    return mbox;
}

mailbox connected(char private_group[MAX_GROUP_NAME])
{
    return connected_to(daemon_address, "", private_group);
}

struct received receive(mailbox mbox, char *body, int size)
{
    struct received to;

    memset(&to, 0, sizeof to);
    to.code = SP_receive(mbox, &to.type, to.sender, 1, &to.num_groups, to.groups, &to.mess_type,
                         &to.mismatch, size, body);
    return to;
}

void works(mailbox mbox, const char *private_group)
{
    char body[10] = "";

    CHECK_IS(SP_multicast(mbox, FIFO_MESS, private_group, 3, 6, "hello"), 6);
    CHECK_IS(receive(mbox, body, sizeof body).code, 6);
    CHECK(strcmp(body, "hello") == 0);
}

void start(struct waiter *waiter, void *(*body)(void *), void *argument)
{
    atomic_store(&waiter->tid, 0);
    CHECK(pthread_create(&waiter->thread, NULL, body, argument) == 0);
}

void about_to_wait(struct waiter *self)
{
    atomic_store(&self->tid, (int)syscall(SYS_gettid));
}

/* The state of a thread as the kernel tells it, such as R or S. */
static char state_of(int tid)
{
    char path[60], line[300];
    FILE *file;
    char *end, state = '?';

    snprintf(path, sizeof path, "/proc/self/task/%d/stat", tid);
    file = fopen(path, "r");
    if (file == NULL)
        return state;
    if (fgets(line, sizeof line, file) != NULL && (end = strrchr(line, ')')) != NULL)
        state = end[2];
    fclose(file);
    return state;
}

void until_it_waits(struct waiter *waiter)
{
    int seen = 0;

    /* A thread may sleep for a moment on a lock: it has to be seen several times. */
    while (seen < 20) {
        int tid = atomic_load(&waiter->tid);
        if (tid != 0 && state_of(tid) == 'S')
            seen++;
        else
            seen = 0;
        /* Valgrind runs one thread at a time, and may leave out the other one as long as
         * this one does not sleep. */
        poll(NULL, 0, 1);
    }
}

void cancel(struct waiter *waiter)
{
    void *result = NULL;

    CHECK(pthread_cancel(waiter->thread) == 0);
    CHECK(pthread_join(waiter->thread, &result) == 0);
    CHECK(result == PTHREAD_CANCELED);
}

struct listener listening(void)
{
    struct listener listener;
    struct sockaddr_in at = { .sin_family = AF_INET };
    socklen_t len = sizeof at;

    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    listener.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(listener.fd >= 0);
    CHECK(bind(listener.fd, (struct sockaddr *)&at, len) == 0);
    CHECK(listen(listener.fd, 10) == 0);
    CHECK(getsockname(listener.fd, (struct sockaddr *)&at, &len) == 0);
    snprintf(listener.address, sizeof listener.address, "%d@127.0.0.1", ntohs(at.sin_port));
    return listener;
}

static int read_all(int fd, char *to, size_t len)
{
    while (len > 0) {
        ssize_t count = read(fd, to, len);
        if (count < 0 && errno == EINTR)
            continue;
        if (count <= 0)
            return 0;
        to += count;
        len -= (size_t)count;
    }
    return 1;
}

void write_all(int fd, const char *bytes, size_t len)
{
    while (len > 0) {
        ssize_t count = send(fd, bytes, len, MSG_NOSIGNAL);
        if (count < 0 && errno == EINTR)
            continue;
        CHECK(count > 0);
        bytes += count;
        len -= (size_t)count;
    }
}

int accepted(const struct listener *listener)
{
    char bytes[90];
    int fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC);

    CHECK(fd >= 0);
    CHECK(read_all(fd, bytes, 5));
    CHECK(read_all(fd, bytes + 5, (size_t)bytes[4]));
    write_all(fd, "\x05NULL ", 6);
    CHECK(read_all(fd, bytes, 90));
    write_all(fd, "\x01\x05\x00\x01\x0b#alice#fake", 16);
    return fd;
}

static void *accept_one(void *listener)
{
    return (void *)(ptrdiff_t)accepted(listener);
}

struct session session_with_peer(void)
{
    struct listener listener = listening();
    struct session session;
    char private_group[MAX_GROUP_NAME];
    pthread_t thread;
    void *peer;

    CHECK(pthread_create(&thread, NULL, accept_one, &listener) == 0);
    session.mbox = connected_to(listener.address, "alice", private_group);
    CHECK(pthread_join(thread, &peer) == 0);
    session.peer = (int)(ptrdiff_t)peer;
    close(listener.fd);
    return session;
}

static void set_word(char *to, unsigned value)
{
    memcpy(to, &value, 4);
}

static unsigned word(const char *from)
{
    unsigned value;

    memcpy(&value, from, 4);
    return value;
}

/* Set in what is sent by a machine that stores the low byte first. */
static unsigned order_bits(void)
{
    const unsigned one = 1;

    return *(const char *)&one ? 0x80000080u : 0;
}

size_t message(char *to, const char *body, int len)
{
    memset(to, 0, HEADER + MAX_GROUP_NAME);
    set_word(to, AGREED_MESS | order_bits());
    strcpy(to + 4, "#bob#fake");
    set_word(to + 36, 1);
    set_word(to + 40, order_bits());
    set_word(to + 44, (unsigned)len);
    strcpy(to + HEADER, "g");
    memcpy(to + HEADER + MAX_GROUP_NAME, body, (size_t)len);
    return HEADER + MAX_GROUP_NAME + (size_t)len;
}

unsigned read_frame(int fd, char *body, int room, int *len)
{
    char header[HEADER], name[MAX_GROUP_NAME];
    unsigned groups;

    if (!read_all(fd, header, HEADER))
        return 0;
    CHECK((word(header) & 0x80000080u) == order_bits());
    CHECK(strcmp(header + 4, "#alice#fake") == 0);
    groups = word(header + 36);
    *len = (int)word(header + 44);
    CHECK(groups <= 43 && *len >= 0 && *len <= room);
    while (groups-- > 0)
        CHECK(read_all(fd, name, sizeof name));
    CHECK(read_all(fd, body, (size_t)*len));
    return word(header) & ~0x80000080u;
}

void until_closed(int fd)
{
    char bytes[4096];
    ssize_t count;

    do
        count = read(fd, bytes, sizeof bytes);
    while (count > 0 || (count < 0 && errno == EINTR));
    close(fd);
}
