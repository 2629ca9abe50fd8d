/* Threads that are cancelled inside the library: each ends alone, and the mailbox
 * it was in, the others, and the table of descriptors go on. */

#include "common.h"

#include <poll.h>
#include <sys/socket.h>

enum { LARGE = 100000 };

static struct waiter waiter;
static mailbox waits_in;
static char large[LARGE];

static void *receives(void *unused)
{
    (void)unused;
    about_to_wait(&waiter);
    receive(waits_in, large, LARGE);
    return NULL;
}

static void *receives_in_pieces(void *unused)
{
    static scatter scat;
    service type = 0;
    char sender[MAX_GROUP_NAME], groups[1][MAX_GROUP_NAME];
    int num_groups, mismatch;
    int16 mess_type;

    (void)unused;
    scat.num_elements = 1;
    scat.elements[0].buf = large;
    scat.elements[0].len = LARGE;
    about_to_wait(&waiter);
    SP_scat_receive(waits_in, &type, sender, 1, &num_groups, groups, &mess_type, &mismatch,
                    &scat);
    return NULL;
}

static void cancelled_while_it(void *(*body)(void *))
{
    start(&waiter, body, NULL);
    until_it_waits(&waiter);
    cancel(&waiter);
}

static void a_receive(void)
{
    char own[MAX_GROUP_NAME], other_own[MAX_GROUP_NAME];
    int before = open_descriptors();
    mailbox other = connected(other_own);
    int i;

    waits_in = connected(own);
    for (i = 0; i < 3; i++) {
        cancelled_while_it(receives);
        cancelled_while_it(receives_in_pieces);
        CHECK_IS(SP_poll(waits_in), 0);
        works(waits_in, own);
        works(other, other_own);
    }
    CHECK_IS(SP_disconnect(waits_in), 0);
    CHECK_IS(SP_disconnect(other), 0);
    CHECK_IS(open_descriptors(), before);
}

static void a_receive_of_half_a_message(void)
{
    static const size_t halves[] = { 20, HEADER + 10, 200, 50000 };
    static char body[LARGE], frame[LARGE + 100];
    size_t i, k, len;
    struct session session;

    for (i = 0; i < COUNT(halves); i++) {
        for (k = 0; k < LARGE; k++)
            body[k] = (char)(k * 31 + i);
        len = message(frame, body, LARGE);
        session = session_with_peer();
        waits_in = session.mbox;
        write_all(session.peer, frame, halves[i]);
        cancelled_while_it(receives);
        write_all(session.peer, frame + halves[i], len - halves[i]);
        CHECK_IS(receive(waits_in, large, LARGE).code, LARGE);
        CHECK(memcmp(large, body, LARGE) == 0);
        SP_kill(waits_in);
        until_closed(session.peer);
    }
}

static void a_receive_while_others_wait(void)
{
    char own[MAX_GROUP_NAME];
    static struct waiter other;
    static void *(*const body)(void *) = receives;

    waits_in = connected(own);
    start(&waiter, body, NULL);
    until_it_waits(&waiter);
    other = waiter;
    start(&waiter, body, NULL);
    until_it_waits(&waiter);
    cancel(&waiter);
    /* The one that is left receives. */
    CHECK_IS(SP_multicast(waits_in, FIFO_MESS, own, 0, 1, "x"), 1);
    CHECK(pthread_join(other.thread, NULL) == 0);
    works(waits_in, own);
    CHECK_IS(SP_disconnect(waits_in), 0);
}

static void *multicasts(void *unused)
{
    (void)unused;
    memset(large, 1, LARGE);
    about_to_wait(&waiter);
    while (SP_multicast(waits_in, AGREED_MESS, "g", 0, LARGE, large) == LARGE)
        ;
    return NULL;
}

static void *reads_frames(void *peer)
{
    static char body[LARGE];
    int len = 0;
    unsigned type;
    long whole = 0;

    while ((type = read_frame((int)(ptrdiff_t)peer, body, LARGE, &len)) == AGREED_MESS) {
        CHECK_IS(len, LARGE);
        whole++;
    }
    CHECK_IS(type, 0x10000); /* a join */
    return (void *)whole;
}

static void a_multicast(void)
{
    int before = open_descriptors();
    struct session session = session_with_peer();
    pthread_t reader;
    void *whole;

    waits_in = session.mbox;
    /* The peer does not read, so the thread comes to wait. */
    cancelled_while_it(multicasts);
    CHECK(pthread_create(&reader, NULL, reads_frames, (void *)(ptrdiff_t)session.peer) == 0);
    /* What has begun is whole before the next one begins. */
    CHECK_IS(SP_multicast(waits_in, AGREED_MESS, "g", 0, LARGE, large), LARGE);
    CHECK_IS(SP_join(waits_in, "end"), 0);
    CHECK(pthread_join(reader, &whole) == 0);
    CHECK((long)whole > 0);
    SP_kill(waits_in);
    until_closed(session.peer);
    CHECK_IS(open_descriptors(), before);
}

static void *disconnects(void *unused)
{
    (void)unused;
    about_to_wait(&waiter);
    SP_disconnect(waits_in);
    return NULL;
}

static void a_disconnect(void)
{
    char own[MAX_GROUP_NAME];
    int before = open_descriptors(), i;
    mailbox other = connected(own);

    for (i = 0; i < 3; i++) {
        /* The peer does not end its side, so the disconnect waits. */
        struct session session = session_with_peer();
        waits_in = session.mbox;
        cancelled_while_it(disconnects);
        CHECK_IS(SP_poll(waits_in), ILLEGAL_SESSION);
        CHECK(!is_open(waits_in));
        until_closed(session.peer);
        works(other, own);
    }
    CHECK_IS(SP_disconnect(other), 0);
    CHECK_IS(open_descriptors(), before);
}

static void disconnects_at_the_end(void *mbox)
{
    CHECK_IS(SP_disconnect(*(mailbox *)mbox), 0);
}

static pthread_key_t key;

static void *receives_and_disconnects_at_the_end(void *unused)
{
    CHECK(pthread_setspecific(key, &waits_in) == 0);
    return receives(unused);
}

/* What the thread owns ends with it. */
static void a_receive_in_a_mailbox_that_ends_with_its_thread(void)
{
    char own[MAX_GROUP_NAME];
    int before = open_descriptors(), i;

    /* With a key from before the first call that waits, and with one from after it. */
    for (i = 0; i < 2; i++) {
        CHECK(pthread_key_create(&key, disconnects_at_the_end) == 0);
        waits_in = connected(own);
        cancelled_while_it(receives_and_disconnects_at_the_end);
        CHECK_IS(SP_poll(waits_in), ILLEGAL_SESSION);
        CHECK_IS(open_descriptors(), before);
    }
}

static const char *connects_to;

static void *connects(void *unused)
{
    mailbox mbox;
    char own[MAX_GROUP_NAME];

    (void)unused;
    about_to_wait(&waiter);
    SP_connect(connects_to, "", 0, 1, &mbox, own);
    return NULL;
}

static void a_connect(void)
{
    char own[MAX_GROUP_NAME];
    struct listener silent = listening();
    int before = open_descriptors(), i;

    connects_to = silent.address;
    for (i = 0; i < 3; i++) {
        int peer;
        cancelled_while_it(connects);
        CHECK_IS(open_descriptors(), before);
        peer = accept(silent.fd, NULL, NULL);
        CHECK(peer >= 0);
        until_closed(peer);
    }
    waits_in = connected(own);
    works(waits_in, own);
    CHECK_IS(SP_disconnect(waits_in), 0);
    close(silent.fd);
}

static int authenticates(int fd, void *unused)
{
    (void)fd, (void)unused;
    about_to_wait(&waiter);
    poll(NULL, 0, -1);
    return 0;
}

static int agrees(int fd, void *unused)
{
    (void)fd, (void)unused;
    return 1;
}

static void *connects_after_authentication(void *unused)
{
    mailbox mbox;
    char own[MAX_GROUP_NAME];

    (void)unused;
    SP_connect(daemon_address, "", 0, 1, &mbox, own);
    return NULL;
}

static void an_authentication_function(void)
{
    char own[MAX_GROUP_NAME];
    int before = open_descriptors(), i;

    CHECK_IS(SP_set_auth_method("NULL", authenticates, NULL), 1);
    for (i = 0; i < 3; i++) {
        cancelled_while_it(connects_after_authentication);
        CHECK_IS(open_descriptors(), before);
    }
    CHECK_IS(SP_set_auth_method("NULL", agrees, NULL), 1);
    waits_in = connected(own);
    works(waits_in, own);
    CHECK_IS(SP_disconnect(waits_in), 0);
}

static void waits_for_good(int code, void *unused)
{
    (void)code, (void)unused;
    about_to_wait(&waiter);
    poll(NULL, 0, -1);
}

static void ends(int code, void *unused)
{
    (void)code, (void)unused;
    E_exit_events();
}

static const sp_time at_once = { 0, 0 };

static void *handles_events(void *unused)
{
    (void)unused;
    about_to_wait(&waiter);
    E_handle_events();
    return NULL;
}

static void *delays(void *unused)
{
    const sp_time long_time = { 1000, 0 };

    (void)unused;
    about_to_wait(&waiter);
    E_delay(long_time);
    return NULL;
}

static void a_loop_of_events(void)
{
    int before, i;

    E_init();
    E_queue(ends, 0, NULL, at_once);
    E_handle_events();
    before = open_descriptors();
    for (i = 0; i < 3; i++) {
        cancelled_while_it(handles_events);
        E_queue(waits_for_good, 0, NULL, at_once);
        start(&waiter, (void *(*)(void *))handles_events, NULL);
        until_it_waits(&waiter);
        /* In the loop or in the callback already. */
        cancel(&waiter);
        E_dequeue(waits_for_good, 0, NULL);
        cancelled_while_it(delays);
        E_queue(ends, 0, NULL, at_once);
        E_handle_events();
    }
    CHECK_IS(open_descriptors(), before);
}

int main(int argc, char **argv)
{
    static const struct test tests[] = {
        TEST(a_receive),
        TEST(a_receive_of_half_a_message),
        TEST(a_receive_while_others_wait),
        TEST(a_multicast),
        TEST(a_disconnect),
        TEST(a_receive_in_a_mailbox_that_ends_with_its_thread),
        TEST(a_connect),
        TEST(an_authentication_function),
        TEST(a_loop_of_events),
    };

    return run_test(argc, argv, tests, COUNT(tests));
}
