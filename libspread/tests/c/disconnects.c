/* A disconnect takes about a second at most, whatever the daemon does. */

#include "common.h"

#include <poll.h>
#include <sys/socket.h>

static void *disconnects(void *mbox)
{
    CHECK_IS(SP_disconnect((mailbox)(ptrdiff_t)mbox), 0);
    return NULL;
}

/* The daemon is stopped: it reads nothing and ends nothing. */
static void twenty_disconnects_at_once_take_a_second(void)
{
    enum { SESSIONS = 20 };
    struct session sessions[SESSIONS];
    pthread_t threads[SESSIONS];
    double begin;
    int i;

    for (i = 0; i < SESSIONS; i++)
        sessions[i] = session_with_peer();
    begin = now();
    for (i = 0; i < SESSIONS; i++)
        CHECK(pthread_create(&threads[i], NULL, disconnects,
                             (void *)(ptrdiff_t)sessions[i].mbox) == 0);
    for (i = 0; i < SESSIONS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    begin = now() - begin;
    CHECK(begin > 0.9 && begin < 2.0);
    for (i = 0; i < SESSIONS; i++)
        until_closed(sessions[i].peer);
}

static atomic_int ended;

/* Sends for as long as the client takes it. */
static void *keeps_sending(void *peer)
{
    static char bytes[100000];

    while (!atomic_load(&ended))
        if (send((int)(ptrdiff_t)peer, bytes, sizeof bytes, MSG_NOSIGNAL) < 0)
            break;
    return NULL;
}

static void a_disconnect_takes_a_second_however_much_comes(void)
{
    struct session session = session_with_peer();
    struct pollfd poll_fd = { session.mbox, POLLIN, 0 };
    pthread_t senders[4];
    double begin;
    size_t i;

    /* More than one, so that the socket of the client is never empty. */
    for (i = 0; i < COUNT(senders); i++)
        CHECK(pthread_create(&senders[i], NULL, keeps_sending, (void *)(ptrdiff_t)session.peer)
              == 0);
    CHECK(poll(&poll_fd, 1, -1) == 1);
    begin = now();
    CHECK_IS(SP_disconnect(session.mbox), 0);
    begin = now() - begin;
    atomic_store(&ended, 1);
    for (i = 0; i < COUNT(senders); i++)
        CHECK(pthread_join(senders[i], NULL) == 0);
    until_closed(session.peer);
    CHECK(begin < 2.0);
}

static void *fills(void *mbox)
{
    static char body[100000];

    while (SP_multicast((mailbox)(ptrdiff_t)mbox, FIFO_MESS, "g", 0, sizeof body, body) > 0)
        ;
    return NULL;
}

static struct waiter waiter;

static void *fills_until_it_waits(void *mbox)
{
    about_to_wait(&waiter);
    return fills(mbox);
}

static void a_disconnect_takes_a_second_though_nobody_reads(void)
{
    struct session session = session_with_peer();
    double begin;

    start(&waiter, fills_until_it_waits, (void *)(ptrdiff_t)session.mbox);
    until_it_waits(&waiter);
    begin = now();
    CHECK_IS(SP_disconnect(session.mbox), 0);
    CHECK(pthread_join(waiter.thread, NULL) == 0);
    begin = now() - begin;
    CHECK(begin < 2.0);
    CHECK(!is_open(session.mbox));
    until_closed(session.peer);
}

int main(int argc, char **argv)
{
    static const struct test tests[] = {
        TEST(twenty_disconnects_at_once_take_a_second),
        TEST(a_disconnect_takes_a_second_however_much_comes),
        TEST(a_disconnect_takes_a_second_though_nobody_reads),
    };

    return run_test(argc, argv, tests, COUNT(tests));
}
