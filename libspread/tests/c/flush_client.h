/* A client of Flush Spread in the group of the tests. */

#ifndef FLUSH_CLIENT_H
#define FLUSH_CLIENT_H

#include "common.h"

#include <fl.h>

enum { SIZE = 1000, NAMES = 10 };

static const char group[] = "c-flush";

struct client {
    mailbox mbox;
    char own[MAX_GROUP_NAME];
    /* The last message. */
    service type;
    char sender[MAX_GROUP_NAME];
    int num_groups;
    char groups[NAMES][MAX_GROUP_NAME];
    int16 mess_type;
    int mismatch;
    int more;
    char body[SIZE];
};

static inline int receive_with(struct client *client, service flags, int max_groups, int size)
{
    client->type = flags;
    return FL_receive(client->mbox, &client->type, client->sender, max_groups,
                      &client->num_groups, client->groups, &client->mess_type,
                      &client->mismatch, size, client->body, &client->more);
}

static inline int next(struct client *client)
{
    return receive_with(client, 0, NAMES, SIZE);
}

static inline void connect_one(struct client *client)
{
    memset(client, 0, sizeof *client);
    CHECK_IS(FL_connect(daemon_address, "", 0, &client->mbox, client->own), ACCEPT_SESSION);
}

static inline void is_view(struct client *client, int code, int members)
{
    int names, at = FL_get_num_vs_offset_memb_mess();

    CHECK(code > 0 && Is_reg_memb_mess(client->type));
    CHECK_IS(client->num_groups, members);
    CHECK(strcmp(client->sender, group) == 0);
    CHECK(strcmp(client->groups[client->mess_type], client->own) == 0);
    memcpy(&names, client->body + at, sizeof names);
    CHECK_IS(code, FL_get_vs_set_offset_memb_mess() + names * MAX_GROUP_NAME);
}

static inline void join_alone(struct client *client)
{
    CHECK_IS(FL_join(client->mbox, group), 0);
    is_view(client, next(client), 1);
}

#endif
