/* Every pair of functions on one mailbox at once, which a third thread ends: each
 * call gets a whole message or an error, and no descriptor is left over. ROUNDS in the
 * environment says how often each pair races. */

#include "common.h"

#include <sched.h>

enum { SIZE = 100000, FLOOD = 20 };

static int rounds = 25;

static mailbox mbox, sender;
static char own[MAX_GROUP_NAME];
/* Messages that the flood has sent in this round. */
static atomic_int sent;

static unsigned sum_of(const char *body)
{
    unsigned sum = 1;
    int i;

    for (i = 4; i < SIZE; i++)
        sum = sum * 16777619u ^ (unsigned char)body[i];
    return sum;
}

static void fill(char *body, unsigned seed)
{
    unsigned sum;
    int i;

    for (i = 4; i < SIZE; i += 97)
        body[i] = (char)(seed = seed * 1103515245u + 12345u);
    sum = sum_of(body);
    memcpy(body, &sum, 4);
}

static int is_end(int code)
{
    return code == CONNECTION_CLOSED || code == ILLEGAL_SESSION || code == NET_ERROR_ON_SESSION;
}

/* Returns once so many messages are on their way: each time at another moment. */
static void at_moment(unsigned *seed)
{
    int moment = rand_r(seed) % FLOOD;

    while (atomic_load(&sent) < moment)
        sched_yield();
}

static void connects(unsigned *seed)
{
    char name[MAX_GROUP_NAME];
    int i;

    for (i = 0; i < 3; i++) {
        mailbox other = connected(name);
        CHECK(strcmp(name, own) != 0);
        CHECK_IS(SP_poll(other), 0);
        if (rand_r(seed) % 2 == 0)
            SP_kill(other);
        else
            CHECK_IS(SP_disconnect(other), 0);
    }
}

static void disconnects(unsigned *seed)
{
    int code;

    at_moment(seed);
    code = SP_disconnect(mbox);
    CHECK(code == 0 || code == ILLEGAL_SESSION);
}

static void kills(unsigned *seed)
{
    at_moment(seed);
    SP_kill(mbox);
}

static void receives(unsigned *seed)
{
    char *body = malloc(SIZE);
    unsigned sum;

    (void)seed;
    CHECK(body != NULL);
    for (;;) {
        struct received message = receive(mbox, body, SIZE);
        if (message.code < 0) {
            if (!is_end(message.code))
                CHECK_IS(message.code, CONNECTION_CLOSED);
            break;
        }
        if (Is_membership_mess(message.type))
            continue;
        CHECK_IS(message.code, SIZE);
        CHECK_IS(message.type, AGREED_MESS);
        CHECK(message.num_groups == 1 && strcmp(message.groups[0], own) == 0);
        CHECK(message.mess_type == 7 && message.mismatch == 0);
        memcpy(&sum, body, 4);
        CHECK(sum == sum_of(body));
    }
    free(body);
}

static void polls(unsigned *seed)
{
    int code;

    (void)seed;
    do {
        code = SP_poll(mbox);
        sched_yield();
    } while (code >= 0);
    CHECK(is_end(code));
}

static void multicasts(unsigned *seed)
{
    char *body = calloc(1, SIZE);
    int i;

    CHECK(body != NULL);
    for (i = 0; i < FLOOD; i++) {
        int code;
        fill(body, rand_r(seed));
        code = SP_multicast(mbox, AGREED_MESS, own, 7, SIZE, body);
        if (code < 0) {
            CHECK(is_end(code));
            break;
        }
        CHECK_IS(code, SIZE);
    }
    free(body);
}

static void joins(unsigned *seed)
{
    int i, code = 0;

    (void)seed;
    for (i = 0; i < 10 && code == 0; i++)
        code = i % 2 == 0 ? SP_join(mbox, "c-races") : SP_leave(mbox, "c-races");
    CHECK(code == 0 || is_end(code));
}

static void multicasts_in_pieces(unsigned *seed)
{
    static scatter empty;
    scatter scat = empty;
    char *body = calloc(1, SIZE);
    int i, code = SIZE;

    CHECK(body != NULL);
    scat.num_elements = 2;
    scat.elements[0].buf = body;
    scat.elements[0].len = 10;
    scat.elements[1].buf = body + 10;
    scat.elements[1].len = SIZE - 10;
    for (i = 0; i < FLOOD && code == SIZE; i++) {
        fill(body, rand_r(seed));
        code = SP_scat_multicast(mbox, AGREED_MESS, own, 7, &scat);
    }
    CHECK(code == SIZE || is_end(code));
    free(body);
}

typedef void action(unsigned *seed);

static action *const actions[] = { connects, disconnects, kills, receives, polls,
                                   multicasts, multicasts_in_pieces, joins };

struct actor {
    action *act;
    unsigned seed;
    pthread_t thread;
};

static void *acts(void *argument)
{
    struct actor *actor = argument;

    while (atomic_load(&sent) == 0)
        sched_yield();
    actor->act(&actor->seed);
    return NULL;
}

static void start_actor(struct actor *actor)
{
    CHECK(pthread_create(&actor->thread, NULL, acts, actor) == 0);
}

static void join_actor(struct actor *actor)
{
    CHECK(pthread_join(actor->thread, NULL) == 0);
}

static int ends(action *act)
{
    return act == disconnects || act == kills;
}

static void round_of(action *first, action *second, unsigned seed)
{
    static char body[SIZE];
    struct actor one = { first, seed, 0 }, two = { second, seed + 1, 0 };
    struct actor last = { ends(first) || ends(second) ? polls : seed % 2 ? kills : disconnects,
                          seed + 2, 0 };
    /* A connect after the end could get the number of the mailbox. */
    int last_is_late = first == connects || second == connects;
    int i;

    mbox = connected(own);
    atomic_store(&sent, 0);
    start_actor(&one);
    start_actor(&two);
    if (!last_is_late)
        start_actor(&last);
    for (i = 0; i < FLOOD; i++) {
        fill(body, seed + (unsigned)i);
        CHECK_IS(SP_multicast(sender, AGREED_MESS, own, 7, SIZE, body), SIZE);
        atomic_fetch_add(&sent, 1);
    }
    if (last_is_late) {
        if (first == connects)
            join_actor(&one);
        if (second == connects)
            join_actor(&two);
        start_actor(&last);
    }
    if (first != connects)
        join_actor(&one);
    if (second != connects)
        join_actor(&two);
    join_actor(&last);
}

static void pairs_with(action *first)
{
    char sender_own[MAX_GROUP_NAME];
    int before = open_descriptors();
    unsigned seed = (unsigned)(now() * 1e6);
    size_t i;
    int round;

    fprintf(stderr, "seed %u\n", seed);
    sender = connected(sender_own);
    for (i = 0; i < COUNT(actions); i++)
        for (round = 0; round < rounds; round++)
            round_of(first, actions[i], seed++);
    works(sender, sender_own);
    CHECK_IS(SP_disconnect(sender), 0);
    CHECK_IS(open_descriptors(), before);
}

#define PAIRS_WITH(name)                                                      \
    static void name##_and_all_others(void)                                   \
    {                                                                         \
        pairs_with(name);                                                     \
    }

PAIRS_WITH(connects)
PAIRS_WITH(disconnects)
PAIRS_WITH(kills)
PAIRS_WITH(receives)
PAIRS_WITH(polls)
PAIRS_WITH(multicasts)
PAIRS_WITH(multicasts_in_pieces)
PAIRS_WITH(joins)

int main(int argc, char **argv)
{
    static const struct test tests[] = {
        TEST(connects_and_all_others), TEST(disconnects_and_all_others),
        TEST(kills_and_all_others),    TEST(receives_and_all_others),
        TEST(polls_and_all_others),    TEST(multicasts_and_all_others),
        TEST(multicasts_in_pieces_and_all_others), TEST(joins_and_all_others),
    };
    const char *chosen = getenv("ROUNDS");

    if (chosen != NULL)
        rounds = atoi(chosen);

    return run_test(argc, argv, tests, COUNT(tests));
}
