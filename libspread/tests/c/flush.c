/* Flush Spread: messages come in the view they were sent in. */

#include "flush_client.h"

#include <limits.h>

static void is_flush_request(struct client *client, int code)
{
    CHECK_IS(code, 0);
    CHECK(Is_flush_req_mess(client->type) && !Is_regular_mess(client->type));
    CHECK(strcmp(client->sender, group) == 0);
    CHECK_IS(client->num_groups, 0);
}

struct receiver {
    struct client *client;
    pthread_t thread;
    int code;
};

static void *receives(void *receiver)
{
    struct receiver *self = receiver;
    self->code = next(self->client);
    return NULL;
}

/* A view needs all of its members, so all receive at once. */
static void all_get_a_view(struct client **clients, int count, int members)
{
    struct receiver receivers[NAMES];
    int i;

    for (i = 0; i < count; i++) {
        receivers[i].client = clients[i];
        CHECK(pthread_create(&receivers[i].thread, NULL, receives, &receivers[i]) == 0);
    }
    for (i = 0; i < count; i++) {
        CHECK(pthread_join(receivers[i].thread, NULL) == 0);
        is_view(clients[i], receivers[i].code, members);
    }
}

static void join_beside(struct client *first, struct client *second)
{
    struct client *both[2];

    both[0] = first;
    both[1] = second;
    join_alone(first);
    connect_one(second);
    CHECK_IS(FL_join(second->mbox, group), 0);
    is_flush_request(first, next(first));
    CHECK_IS(FL_flush(first->mbox, group), 0);
    all_get_a_view(both, 2, 2);
}

static void disconnect(struct client *client)
{
    CHECK_IS(FL_disconnect(client->mbox), 0);
    CHECK_IS(FL_disconnect(client->mbox), ILLEGAL_SESSION);
}

static void a_message_comes_in_the_view_it_was_sent_in(void)
{
    struct client alice, bob, *both[2];

    both[0] = &alice;
    both[1] = &bob;
    connect_one(&alice);
    connect_one(&bob);
    join_alone(&alice);
    CHECK_IS(FL_join(alice.mbox, group), ILLEGAL_GROUP);
    CHECK_IS(FL_flush(alice.mbox, group), ILLEGAL_STATE);
    CHECK_IS(FL_join(bob.mbox, group), 0);
    is_flush_request(&alice, next(&alice));
    /* Bob is no member yet; Alice still is alone. */
    CHECK_IS(FL_multicast(bob.mbox, AGREED_MESS, group, 1, 1, "x"), ILLEGAL_GROUP);
    CHECK_IS(FL_leave(bob.mbox, group), ILLEGAL_GROUP);
    CHECK_IS(FL_multicast(alice.mbox, FIFO_MESS, group, 1, 3, "old"), 3);
    CHECK_IS(FL_flush(alice.mbox, group), 0);
    CHECK_IS(FL_multicast(alice.mbox, FIFO_MESS, group, 1, 3, "new"), ILLEGAL_STATE);
    CHECK_IS(next(&alice), 3);
    CHECK(memcmp(alice.body, "old", 3) == 0);
    all_get_a_view(both, 2, 2);
    CHECK(Is_caused_join_mess(alice.type));
    CHECK(strcmp(bob.body + FL_get_vs_set_offset_memb_mess(), bob.own) == 0);
    CHECK_IS(FL_multicast(bob.mbox, FIFO_MESS, group, -9, 3, "new"), 3);
    CHECK_IS(next(&alice), 3);
    CHECK_IS(alice.mess_type, -9);
    CHECK_IS(next(&bob), 3);
    CHECK(memcmp(bob.body, "new", 3) == 0 && strcmp(bob.groups[0], group) == 0);
    /* Alice's signal comes behind the request. */
    CHECK_IS(FL_leave(bob.mbox, group), 0);
    CHECK_IS(next(&bob), 0);
    CHECK(Is_self_leave(bob.type));
    is_flush_request(&alice, next(&alice));
    CHECK_IS(alice.more, 1);
    CHECK_IS(FL_more_msgs(alice.mbox), 1);
    CHECK(FL_poll(alice.mbox) > 0);
    CHECK_IS(next(&alice), 0);
    CHECK(Is_transition_mess(alice.type) && alice.more == 0);
    CHECK_IS(FL_flush(alice.mbox, group), 0);
    is_view(&alice, next(&alice), 1);
    disconnect(&bob);
    disconnect(&alice);
}

static void a_member_that_ends_is_missed(void)
{
    struct client alice, bob;

    connect_one(&alice);
    join_beside(&alice, &bob);
    SP_kill(bob.mbox);
    is_flush_request(&alice, next(&alice));
    CHECK_IS(next(&alice), 0);
    CHECK(Is_transition_mess(alice.type));
    CHECK_IS(FL_flush(alice.mbox, group), 0);
    is_view(&alice, next(&alice), 1);
    CHECK(Is_caused_disconnect_mess(alice.type));
    CHECK(strcmp(alice.body + FL_get_vs_set_offset_memb_mess(), bob.own) == 0);
    disconnect(&alice);
}

static void a_subgroup_sees_who_got_the_message(void)
{
    struct client alice, bob;
    char receivers[3][MAX_GROUP_NAME] = { "" };
    scatter scat;

    connect_one(&alice);
    join_beside(&alice, &bob);
    strcpy(receivers[0], bob.own);
    strcpy(receivers[1], alice.own);
    CHECK_IS(FL_subgroupcast(alice.mbox, AGREED_MESS, group, 2, receivers, 5, 4, "some"), 4);
    CHECK_IS(next(&bob), 4);
    CHECK(Is_subgroup_mess(bob.type) && Is_agreed_mess(bob.type) && bob.num_groups == 3);
    CHECK(strcmp(bob.groups[0], bob.own) == 0 && strcmp(bob.groups[2], group) == 0);
    CHECK_IS(receive_with(&alice, 0, 2, SIZE), GROUPS_TOO_SHORT);
    CHECK_IS(alice.num_groups, -3);
    CHECK_IS(receive_with(&alice, DROP_RECV, 2, SIZE), GROUPS_TOO_SHORT);
    CHECK(alice.num_groups == -3 && strcmp(alice.groups[1], group) == 0);
    CHECK(memcmp(alice.body, "some", 4) == 0);

    CHECK_IS(FL_unicast(alice.mbox, FIFO_MESS, group, bob.own, 6, 3, "one"), 3);
    CHECK_IS(receive_with(&bob, 0, NAMES, 2), BUFFER_TOO_SHORT);
    CHECK(bob.mismatch <= -3);
    CHECK_IS(next(&bob), 3);
    CHECK(bob.mess_type == 6 && bob.num_groups == 2);
    scat.num_elements = 2;
    scat.elements[0].buf = bob.body;
    scat.elements[0].len = 1;
    scat.elements[1].buf = bob.body + 2;
    scat.elements[1].len = 1;
    CHECK_IS(FL_scat_multicast(bob.mbox, FIFO_MESS | SELF_DISCARD, group, 7, &scat), 2);
    CHECK_IS(next(&alice), 2);
    CHECK(memcmp(alice.body, "oe", 2) == 0 && Is_self_discard(alice.type));
    CHECK_IS(receive_with(&bob, DONT_BLOCK, NAMES, SIZE), WOULD_BLOCK);

    strcpy(receivers[2], "#nobody#nowhere");
    CHECK_IS(FL_subgroupcast(alice.mbox, AGREED_MESS, group, 3, receivers, 5, 4, "some"),
             ILLEGAL_RECEIVERS);
    CHECK_IS(FL_subgroupcast(alice.mbox, AGREED_MESS, group, -1, receivers, 5, 4, "some"),
             ILLEGAL_PARAM);
#ifdef OURS
    /* Before any of the names is read. */
    CHECK_IS(FL_subgroupcast(alice.mbox, AGREED_MESS, group, INT_MAX, receivers, 5, 4, "some"),
             MESSAGE_TOO_LONG);
    CHECK_IS(FL_subgroupcast(alice.mbox, AGREED_MESS, group, 44, NULL, 5, 4, "some"),
             MESSAGE_TOO_LONG);
    scat.num_elements = 1;
    CHECK_IS(FL_scat_subgroupcast(alice.mbox, AGREED_MESS, group, INT_MAX, NULL, 5, &scat),
             MESSAGE_TOO_LONG);
#endif
    CHECK_IS(FL_multicast(alice.mbox, AGREED_MESS, group, FL_MIN_LEGAL_MESS_TYPE - 1, 0, ""),
             ILLEGAL_MESSAGE_TYPE);
    CHECK_IS(FL_multicast(alice.mbox, 0x3000, group, 0, 0, ""), ILLEGAL_SERVICE);
    scat.num_elements = FL_MAX_SCATTER_ELEMENTS + 1;
    CHECK_IS(FL_scat_multicast(alice.mbox, FIFO_MESS, group, 7, &scat), ILLEGAL_MESSAGE);
    /* To one client, member or not. */
    CHECK_IS(FL_multicast(alice.mbox, FIFO_MESS, bob.own, 8, 7, "private"), 7);
    CHECK_IS(next(&bob), 7);
    CHECK(strcmp(bob.groups[0], bob.own) == 0);
    disconnect(&bob);
    disconnect(&alice);
}

static void a_mailbox_of_spread_is_none(void)
{
    char own[MAX_GROUP_NAME];
    mailbox mbox = connected(own);

    CHECK_IS(FL_join(mbox, group), ILLEGAL_SESSION);
    CHECK_IS(FL_more_msgs(mbox), ILLEGAL_SESSION);
    CHECK_IS(FL_poll(mbox), ILLEGAL_SESSION);
    CHECK_IS(FL_disconnect(mbox), ILLEGAL_SESSION);
    CHECK_IS(SP_disconnect(mbox), 0);
}

#ifdef OURS
static struct client shared;
static atomic_int requests, signals, others;

static void *takes_one(void *unused)
{
    struct client self = shared;

    (void)unused;
    CHECK(next(&self) >= 0);
    if (Is_flush_req_mess(self.type))
        atomic_fetch_add(&requests, 1);
    else if (Is_transition_mess(self.type))
        atomic_fetch_add(&signals, 1);
    else
        atomic_fetch_add(&others, 1);
    return NULL;
}

/* One message of Spread becomes two for the application: a request and the signal. */
static void each_of_two_threads_gets_one_of_two_messages(void)
{
    struct client bob;
    int before = open_descriptors(), i;

    for (i = 0; i < 20; i++) {
        pthread_t one, two;

        connect_one(&shared);
        join_beside(&shared, &bob);
        CHECK(pthread_create(&one, NULL, takes_one, NULL) == 0);
        CHECK(pthread_create(&two, NULL, takes_one, NULL) == 0);
        disconnect(&bob);
        CHECK(pthread_join(one, NULL) == 0);
        CHECK(pthread_join(two, NULL) == 0);
        disconnect(&shared);
    }
    CHECK(requests == 20 && signals == 20 && others == 0);
    CHECK_IS(open_descriptors(), before);
}

static struct waiter waiter;

static void *waits(void *unused)
{
    struct client self = shared;

    (void)unused;
    about_to_wait(&waiter);
    next(&self);
    return NULL;
}

static void *waits_for_the_end(void *unused)
{
    struct client self = shared;

    (void)unused;
    about_to_wait(&waiter);
    CHECK_IS(next(&self), ILLEGAL_SESSION);
    return NULL;
}

static void a_receive_may_be_cancelled_and_ended(void)
{
    int before = open_descriptors();

    connect_one(&shared);
    join_alone(&shared);
    start(&waiter, waits, NULL);
    until_it_waits(&waiter);
    cancel(&waiter);
    CHECK_IS(FL_multicast(shared.mbox, FIFO_MESS, group, 1, 4, "more"), 4);
    CHECK_IS(next(&shared), 4);
    start(&waiter, waits_for_the_end, NULL);
    until_it_waits(&waiter);
    disconnect(&shared);
    CHECK(pthread_join(waiter.thread, NULL) == 0);
    CHECK_IS(open_descriptors(), before);
}

static void *accepts(void *listener)
{
    return (void *)(ptrdiff_t)accepted(listener);
}

static void a_mailbox_whose_connection_has_ended_is_gone(void)
{
    int before = open_descriptors();
    struct listener listener = listening();
    pthread_t peer;
    void *fd;

    CHECK(pthread_create(&peer, NULL, accepts, &listener) == 0);
    memset(&shared, 0, sizeof shared);
    CHECK_IS(FL_connect(listener.address, "", 0, &shared.mbox, shared.own), ACCEPT_SESSION);
    CHECK(pthread_join(peer, &fd) == 0);
    close((int)(ptrdiff_t)fd);
    close(listener.fd);
    CHECK_IS(next(&shared), CONNECTION_CLOSED);
    CHECK_IS(next(&shared), ILLEGAL_SESSION);
    CHECK_IS(FL_disconnect(shared.mbox), ILLEGAL_SESSION);
    CHECK_IS(open_descriptors(), before);
}
#endif

int main(int argc, char **argv)
{
    static const struct test tests[] = {
        TEST(a_message_comes_in_the_view_it_was_sent_in),
        TEST(a_member_that_ends_is_missed),
        TEST(a_subgroup_sees_who_got_the_message),
        TEST(a_mailbox_of_spread_is_none),
#ifdef OURS
        TEST(each_of_two_threads_gets_one_of_two_messages),
        TEST(a_receive_may_be_cancelled_and_ended),
        TEST(a_mailbox_whose_connection_has_ended_is_gone),
#endif
    };

    return run_test(argc, argv, tests, COUNT(tests));
}
