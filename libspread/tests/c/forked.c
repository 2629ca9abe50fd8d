/* A child that goes on with the mailbox of its parent, as a program does that
 * connects and then becomes a daemon. */

#include "common.h"

#include <fl.h>
#include <poll.h>
#include <sys/wait.h>

enum ending { EXIT, KILL, DISCONNECT };

enum { AHEAD = 5 };

/* Sends messages to oneself; returns once all of them have come. */
static void with_messages_waiting(mailbox mbox, const char *own)
{
    int i;

    for (i = 0; i < AHEAD; i++)
        CHECK_IS(SP_multicast(mbox, FIFO_MESS, own, (int16)i, 4, "text"), 4);
    while (SP_poll(mbox) < AHEAD * (HEADER + MAX_GROUP_NAME + 4))
        poll(NULL, 0, 1);
}

static void receive_from(mailbox mbox, int first)
{
    char body[10];

    for (; first < AHEAD; first++) {
        struct received message = receive(mbox, body, sizeof body);
        CHECK_IS(message.code, 4);
        CHECK_IS(message.mess_type, first);
    }
}

static void closed_by_parent(int pipe_end)
{
    char byte;

    CHECK_IS(read(pipe_end, &byte, 1), 0);
}

/* A process connects, forks, and ends; its child tells `result` what came of it. */
static void connect_and_fork(enum ending ending, int result)
{
    char own[MAX_GROUP_NAME], body[10];
    int alive[2];
    mailbox mbox = connected(own);

    with_messages_waiting(mbox, own);
    /* Takes the others off the socket, too. */
    CHECK_IS(receive(mbox, body, sizeof body).code, 4);
    CHECK(pipe(alive) == 0);
    if (fork_bounded() != 0) {
        if (ending == KILL)
            SP_kill(mbox);
        if (ending == DISCONNECT)
            CHECK_IS(SP_disconnect(mbox), 0);
        return;
    }
    close(alive[1]);
    closed_by_parent(alive[0]);
    if (ending == DISCONNECT) {
        int code = SP_multicast(mbox, FIFO_MESS, own, 0, 1, "x");
        CHECK(code == CONNECTION_CLOSED || code == NET_ERROR_ON_SESSION);
        /* What had come is received, and then the end. */
        do
            code = receive(mbox, body, sizeof body).code;
        while (code >= 0);
        CHECK(code == CONNECTION_CLOSED || code == NET_ERROR_ON_SESSION);
        SP_kill(mbox);
    } else {
        receive_from(mbox, 1);
        works(mbox, own);
        CHECK_IS(SP_join(mbox, "g"), 0);
        CHECK_IS(SP_disconnect(mbox), 0);
    }
    CHECK(!is_open(mbox));
    CHECK_IS(SP_poll(mbox), ILLEGAL_SESSION);
    CHECK_IS(write(result, "+", 1), 1);
}

static void daemonises(enum ending ending)
{
    int result[2];
    char byte = 0;
    pid_t child;

    CHECK(pipe(result) == 0);
    child = fork_bounded();
    if (child == 0) {
        connect_and_fork(ending, result[1]);
        _exit(0);
    }
    close(result[1]);
    child_succeeds(child);
    CHECK(read(result[0], &byte, 1) == 1 && byte == '+');
    /* At its end the grandchild closes. */
    CHECK_IS(read(result[0], &byte, 1), 0);
    close(result[0]);
}

static void the_parent_exits(void)
{
    daemonises(EXIT);
}

static void the_parent_kills_its_mailbox(void)
{
    daemonises(KILL);
}

#ifdef OURS
static void the_parent_disconnects(void)
{
    daemonises(DISCONNECT);
}
#endif

static void the_parent_goes_on(void)
{
    char own[MAX_GROUP_NAME];
    mailbox mbox = connected(own);
    pid_t child = fork_bounded();

    if (child == 0) {
        works(mbox, own);
        SP_kill(mbox);
        CHECK(!is_open(mbox));
        _exit(0);
    }
    child_succeeds(child);
    works(mbox, own);
    CHECK_IS(SP_disconnect(mbox), 0);
}

static struct waiter waiter;
static mailbox waits_in;

static void *receives(void *unused)
{
    char body[10];

    (void)unused;
    about_to_wait(&waiter);
    receive(waits_in, body, sizeof body);
    return NULL;
}

static void another_thread_waits_in_the_mailbox(void)
{
    char own[MAX_GROUP_NAME];
    pid_t child;

    waits_in = connected(own);
    start(&waiter, receives, NULL);
    until_it_waits(&waiter);
    child = fork_bounded();
    if (child == 0) {
        /* Both processes wait for it; the one of the parent is still there. */
        CHECK_IS(SP_poll(waits_in), 0);
        CHECK_IS(SP_multicast(waits_in, FIFO_MESS, own, 0, 1, "x"), 1);
        SP_kill(waits_in);
        CHECK(!is_open(waits_in));
        _exit(0);
    }
    child_succeeds(child);
    CHECK(pthread_join(waiter.thread, NULL) == 0);
    works(waits_in, own);
    CHECK_IS(SP_disconnect(waits_in), 0);
}

#ifdef OURS
/* To wake the thread, the connection is shut down, for both processes. */
static void a_kill_that_wakes_a_thread_ends_the_mailbox_of_the_child(void)
{
    char own[MAX_GROUP_NAME], body[10];
    int killed[2], code;
    pid_t child;

    CHECK(pipe(killed) == 0);
    waits_in = connected(own);
    start(&waiter, receives, NULL);
    until_it_waits(&waiter);
    child = fork_bounded();
    if (child == 0) {
        close(killed[1]);
        closed_by_parent(killed[0]);
        code = receive(waits_in, body, sizeof body).code;
        CHECK(code == CONNECTION_CLOSED);
        SP_kill(waits_in);
        _exit(is_open(waits_in));
    }
    SP_kill(waits_in);
    CHECK(pthread_join(waiter.thread, NULL) == 0);
    CHECK(!is_open(waits_in));
    close(killed[1]);
    child_succeeds(child);
    close(killed[0]);
}

static void a_child_connects_by_itself(void)
{
    char own[MAX_GROUP_NAME];
    mailbox mbox = connected(own);
    pid_t child = fork_bounded();

    if (child == 0) {
        char name[MAX_GROUP_NAME];
        int before = open_descriptors();
        mailbox second = connected(name);
        works(second, name);
        CHECK_IS(SP_disconnect(second), 0);
        CHECK_IS(open_descriptors(), before);
        _exit(0);
    }
    child_succeeds(child);
    works(mbox, own);
    CHECK_IS(SP_disconnect(mbox), 0);
}

/* Threads that use the mailbox while the process forks, again and again. */
static atomic_int over;

static void *sends_and_receives(void *own)
{
    while (!atomic_load(&over))
        works(waits_in, own);
    return NULL;
}

static void threads_are_busy_at_the_fork(void)
{
    char own[MAX_GROUP_NAME], other_own[MAX_GROUP_NAME];
    mailbox other = connected(other_own);
    pthread_t thread;
    int i;

    waits_in = connected(own);
    CHECK(pthread_create(&thread, NULL, sends_and_receives, own) == 0);
    for (i = 0; i < 20; i++) {
        pid_t child = fork_bounded();
        if (child == 0) {
            /* Unless the thread was in the middle of a call, the child can send. */
            int code = SP_multicast(waits_in, FIFO_MESS, "nobody", 0, 1, "x");
            CHECK(code == 1 || code == NET_ERROR_ON_SESSION);
            works(other, other_own);
            SP_kill(waits_in);
            SP_kill(other);
            _exit(is_open(waits_in) || is_open(other));
        }
        child_succeeds(child);
    }
    atomic_store(&over, 1);
    CHECK(pthread_join(thread, NULL) == 0);
    works(waits_in, own);
    works(other, other_own);
    CHECK_IS(SP_disconnect(waits_in), 0);
    CHECK_IS(SP_disconnect(other), 0);
}
static void the_child_goes_on_with_flush_spread(void)
{
    char own[MAX_GROUP_NAME], sender[MAX_GROUP_NAME], groups[2][MAX_GROUP_NAME], body[100];
    int num_groups, mismatch, more;
    int16 mess_type;
    service type = 0;
    mailbox mbox;
    pid_t child;

    CHECK_IS(FL_connect(daemon_address, "", 0, &mbox, own), ACCEPT_SESSION);
    CHECK_IS(FL_join(mbox, "c-forked"), 0);
    CHECK(FL_receive(mbox, &type, sender, 2, &num_groups, groups, &mess_type, &mismatch,
                     sizeof body, body, &more) > 0);
    CHECK(Is_reg_memb_mess(type));
    child = fork_bounded();
    if (child == 0) {
        CHECK_IS(FL_multicast(mbox, FIFO_MESS, "c-forked", 1, 5, "child"), 5);
        type = 0;
        CHECK_IS(FL_receive(mbox, &type, sender, 2, &num_groups, groups, &mess_type, &mismatch,
                            sizeof body, body, &more), 5);
        CHECK_IS(FL_disconnect(mbox), 0);
        _exit(0);
    }
    child_succeeds(child);
    SP_kill(mbox);
}
#endif

int main(int argc, char **argv)
{
    static const struct test tests[] = {
        TEST(the_parent_exits),
        TEST(the_parent_kills_its_mailbox),
        TEST(the_parent_goes_on),
        TEST(another_thread_waits_in_the_mailbox),
#ifdef OURS
        TEST(the_parent_disconnects),
        TEST(a_kill_that_wakes_a_thread_ends_the_mailbox_of_the_child),
        TEST(a_child_connects_by_itself),
        TEST(threads_are_busy_at_the_fork),
        TEST(the_child_goes_on_with_flush_spread),
#endif
    };

    return run_test(argc, argv, tests, COUNT(tests));
}
