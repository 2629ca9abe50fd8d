/* A member of a group of Flush Spread, beside programs that are not in C:
 *
 *     flush_peer DAEMON GROUP
 *
 * With each view and before each flush it sends messages of type 1 whose bodies are the id of
 * the view, and checks those that come. A message of type 2 ends it, with 0 if it has seen
 * some of others. */

#include "common.h"

#include <fl.h>

enum { DATA = 1, END = 2, NAMES = 40, ID = 12, SIZE = 4000 };

static const char *group;
static mailbox mbox;
static char view[ID];

static void send_view(service type)
{
    CHECK_IS(FL_multicast(mbox, type, group, DATA, ID, view), ID);
}

int main(int argc, char **argv)
{
    char own[MAX_GROUP_NAME], sender[MAX_GROUP_NAME], groups[NAMES][MAX_GROUP_NAME];
    char body[SIZE];
    int num_groups, mismatch, more, code, has_view = 0, seen = 0;
    int16 type;
    service kind;

    CHECK(argc == 3);
    alarm(PATIENCE);
    group = argv[2];
    CHECK_IS(FL_connect(argv[1], "", 0, &mbox, own), ACCEPT_SESSION);
    CHECK_IS(FL_join(mbox, group), 0);
    for (;;) {
        kind = 0;
        code = FL_receive(mbox, &kind, sender, NAMES, &num_groups, groups, &type, &mismatch,
                          sizeof body, body, &more);
        CHECK(code >= 0);
        if (Is_flush_req_mess(kind)) {
            send_view(FIFO_MESS);
            send_view(AGREED_MESS);
            CHECK_IS(FL_flush(mbox, group), 0);
        } else if (Is_reg_memb_mess(kind)) {
            memcpy(view, body + FL_get_gid_offset_memb_mess(), ID);
            has_view = 1;
            send_view(FIFO_MESS);
            send_view(SAFE_MESS);
            CHECK_IS(FL_unicast(mbox, FIFO_MESS, group, groups[0], DATA, ID, view), ID);
        } else if (Is_regular_mess(kind) && type == END) {
            break;
        } else if (Is_regular_mess(kind)) {
            CHECK(has_view && code == ID && memcmp(body, view, ID) == 0);
            seen += strcmp(sender, own) != 0;
        }
    }
    CHECK(seen > 0);
    CHECK_IS(FL_disconnect(mbox), 0);
    return 0;
}
