/* Any two functions of Flush Spread on one mailbox at once, beside a thread that receives
 * and a member that comes and goes: each call gets a result that it may have, and no
 * descriptor is left over. */

#include "flush_client.h"

#include <sched.h>

static struct client shared;
static atomic_int is_over;

/* The calls that each thread has made. */
enum { ONE, TWO, READER, OTHER, THREADS };
enum { ENOUGH = 100 };
static atomic_int calls_made[THREADS];

static void made_a_call(void *made)
{
    atomic_fetch_add((atomic_int *)made, 1);
}

static void made_enough(void *made)
{
    atomic_store((atomic_int *)made, ENOUGH);
}

static int is_end(int code)
{
    return code == ILLEGAL_SESSION || code == CONNECTION_CLOSED;
}

/* Each does one thing until the mailbox has ended. */
static void *multicasts(void *made)
{
    int code;

    do {
        code = FL_multicast(shared.mbox, FIFO_MESS, group, 1, 4, "race");
        made_a_call(made);
    } while (code == 4 || code == ILLEGAL_STATE || code == ILLEGAL_GROUP);
    made_enough(made);
    CHECK(is_end(code));
    return NULL;
}

static void *flushes(void *made)
{
    int code;

    do {
        code = FL_flush(shared.mbox, group);
        made_a_call(made);
    } while (code == 0 || code == ILLEGAL_STATE || code == ILLEGAL_GROUP);
    made_enough(made);
    CHECK(is_end(code));
    return NULL;
}

static void *takes(void *made)
{
    struct client self = shared;
    int code;

    /* It may wait until the end for its first message. */
    made_enough(made);
    while ((code = next(&self)) >= 0)
        if (Is_regular_mess(self.type))
            CHECK(code == 4 && memcmp(self.body, "race", 4) == 0);
    CHECK(is_end(code));
    return NULL;
}

static void *joins_and_leaves(void *made)
{
    int code;

    do {
        code = FL_join(shared.mbox, "c-flush-races");
        if (code == 0 || code == ILLEGAL_GROUP)
            code = FL_leave(shared.mbox, "c-flush-races");
        made_a_call(made);
    } while (code == 0 || code == ILLEGAL_GROUP);
    made_enough(made);
    CHECK(is_end(code));
    return NULL;
}

static void *looks(void *made)
{
    int code;

    do {
        code = FL_poll(shared.mbox) >= 0 ? FL_more_msgs(shared.mbox) : ILLEGAL_SESSION;
        made_a_call(made);
    } while (code >= 0);
    made_enough(made);
    CHECK(is_end(code));
    return NULL;
}

/* Joins and leaves, so that the group has to be flushed. */
static void *comes_and_goes(void *made)
{
    struct client other;
    int code;

    while (!atomic_load(&is_over)) {
        connect_one(&other);
        CHECK_IS(FL_join(other.mbox, group), 0);
        made_enough(made);
        do
            code = receive_with(&other, DONT_BLOCK, NAMES, SIZE);
        while (code == WOULD_BLOCK && !atomic_load(&is_over));
        SP_kill(other.mbox);
    }
    return NULL;
}

static void two_calls_at_once(void)
{
    static void *(*const calls[])(void *) = { multicasts, flushes, takes, joins_and_leaves,
                                              looks };
    int before = open_descriptors();
    size_t i, k;

    for (i = 0; i < COUNT(calls); i++)
        for (k = i; k < COUNT(calls); k++) {
            pthread_t one, two, reader, other;
            int code, thread;

            atomic_store(&is_over, 0);
            for (thread = 0; thread < THREADS; thread++)
                atomic_store(&calls_made[thread], 0);
            connect_one(&shared);
            join_alone(&shared);
            CHECK(pthread_create(&other, NULL, comes_and_goes, &calls_made[OTHER]) == 0);
            CHECK(pthread_create(&one, NULL, calls[i], &calls_made[ONE]) == 0);
            CHECK(pthread_create(&two, NULL, calls[k], &calls_made[TWO]) == 0);
            /* Somebody has to read, or the senders are stopped. */
            CHECK(pthread_create(&reader, NULL, takes, &calls_made[READER]) == 0);
            for (thread = 0; thread < THREADS; thread++)
                while (atomic_load(&calls_made[thread]) < ENOUGH)
                    sched_yield();
            /* Spread's daemon may have ended the session of a slow reader. */
            code = FL_disconnect(shared.mbox);
            CHECK(code == 0 || code == ILLEGAL_SESSION);
            atomic_store(&is_over, 1);
            CHECK(pthread_join(one, NULL) == 0 && pthread_join(two, NULL) == 0);
            CHECK(pthread_join(reader, NULL) == 0 && pthread_join(other, NULL) == 0);
        }
    CHECK_IS(open_descriptors(), before);
}

int main(int argc, char **argv)
{
    static const struct test tests[] = { TEST(two_calls_at_once) };

    return run_test(argc, argv, tests, COUNT(tests));
}
