/* The C interface as a program in C sees it, for any libspread:
 *
 *     suite DAEMON LIBRARY
 *
 * LIBRARY is a part of the name of the file that the functions have to come from.
 * Exits with 0 if all is well. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sp.h>

#define CHECK(condition)                                                      \
    do {                                                                      \
        if (!(condition)) {                                                   \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);   \
            exit(1);                                                          \
        }                                                                     \
    } while (0)

enum { GROUPS = 10, BYTES = 1000 };

/* All that a receive tells. */
struct received {
    int code;
    service type;
    char sender[MAX_GROUP_NAME];
    int num_groups;
    char groups[GROUPS][MAX_GROUP_NAME];
    int16 mess_type;
    int mismatch;
    char body[BYTES];
};

static struct received last;

static int receive(mailbox mbox, service flags, int max_groups, int max_len)
{
    memset(&last, 0, sizeof last);
    last.type = flags;
    last.code = SP_receive(mbox, &last.type, last.sender, max_groups, &last.num_groups,
                           last.groups, &last.mess_type, &last.mismatch, max_len, last.body);
    return last.code;
}

static mailbox connected(const char *daemon, char *private_group)
{
    mailbox mbox = -1;
    sp_time patience;

    patience.sec = 20;
    patience.usec = 0;
    CHECK(SP_connect_timeout(daemon, "", 0, 1, &mbox, private_group, patience)
          == ACCEPT_SESSION);
    CHECK(mbox >= 0 && private_group[0] == '#');
    return mbox;
}

static void the_library_is_the_one_asked_for(const char *library)
{
    Dl_info info;
    int (*version)(int *, int *, int *) = SP_version;
    void *address;
    int major = 0, minor = 0, patch = 0;

    memcpy(&address, &version, sizeof address);
    CHECK(dladdr(address, &info) != 0);
    printf("suite: %s\n", info.dli_fname);
    CHECK(strstr(info.dli_fname, library) != NULL);
    CHECK(SP_version(&major, &minor, &patch) == 1 && major == 5);
}

static void a_group_is_joined_and_left(const char *daemon)
{
    char own[MAX_GROUP_NAME], members[2][MAX_GROUP_NAME];
    membership_info info;
    vs_set_info sets[2];
    unsigned int mine = 77;
    mailbox mbox = connected(daemon, own);

    CHECK(SP_join(mbox, "c-suite") == 0);
    CHECK(receive(mbox, 0, GROUPS, BYTES) > 0);
    CHECK(Is_reg_memb_mess(last.type) && Is_caused_join_mess(last.type));
    CHECK(strcmp(last.sender, "c-suite") == 0);
    CHECK(strcmp(last.groups[last.mess_type], own) == 0);
    CHECK(SP_get_memb_info(last.body, last.type, &info) > 0);
    CHECK(strcmp(info.changed_member, own) == 0 && info.num_vs_sets == 1);
    CHECK(SP_equal_group_ids(info.gid, info.gid) == 1);
    CHECK(SP_get_vs_sets_info(last.body, sets, 0, &mine) == BUFFER_TOO_SHORT);
    CHECK(SP_get_vs_sets_info(last.body, sets, 2, &mine) == 1 && mine == 0);
    CHECK(SP_get_vs_set_members(last.body, &sets[0], members, 0) == BUFFER_TOO_SHORT);
    CHECK(SP_get_vs_set_members(last.body, &info.my_vs_set, members, 2) == 1);
    CHECK(strcmp(members[0], own) == 0);
    CHECK(SP_get_memb_info(last.body, AGREED_MESS, &info) == ILLEGAL_MESSAGE);

    CHECK(SP_leave(mbox, "c-suite") == 0);
    CHECK(receive(mbox, 0, GROUPS, BYTES) == 0);
    CHECK(Is_self_leave(last.type) && last.num_groups == 0);
    CHECK(SP_get_memb_info(last.body, last.type, &info) > 0);
    CHECK(SP_disconnect(mbox) == 0);
}

static void messages_arrive_as_sent(const char *daemon)
{
    static const service services[] = { UNRELIABLE_MESS, RELIABLE_MESS, FIFO_MESS,
                                        CAUSAL_MESS,     AGREED_MESS,   SAFE_MESS };
    char own[MAX_GROUP_NAME], groups[2][MAX_GROUP_NAME] = { "nobody", "" };
    mailbox mbox = connected(daemon, own);
    size_t i;

    strcpy(groups[1], own);
    for (i = 0; i < sizeof services / sizeof *services; i++) {
        CHECK(SP_multicast(mbox, services[i], own, -3, 5, "hello") == 5);
        CHECK(receive(mbox, 0, GROUPS, BYTES) == 5);
        CHECK(Is_regular_mess(last.type) && last.type == services[i]);
        CHECK(last.mess_type == -3 && last.mismatch == 0 && last.num_groups == 1);
        CHECK(strcmp(last.sender, own) == 0 && memcmp(last.body, "hello", 5) == 0);
    }
    CHECK(SP_multigroup_multicast(mbox, SAFE_MESS, 2, (const char(*)[MAX_GROUP_NAME])groups, 1,
                                  0, "") == 0);
    CHECK(receive(mbox, 0, GROUPS, BYTES) == 0);
    CHECK(last.num_groups == 2 && strcmp(last.groups[1], own) == 0);
    CHECK(SP_poll(mbox) == 0);
    CHECK(SP_multicast(mbox, 0, own, 0, 1, "x") == ILLEGAL_SERVICE);
    CHECK(SP_disconnect(mbox) == 0);
}

static void what_is_too_short_is_told_and_kept(const char *daemon)
{
    char own[MAX_GROUP_NAME];
    mailbox mbox = connected(daemon, own);

    CHECK(SP_multicast(mbox, AGREED_MESS, own, 9, 10, "0123456789") == 10);
    CHECK(receive(mbox, 0, 0, 5) == GROUPS_TOO_SHORT);
    CHECK(last.num_groups == -1 && last.mismatch == -10 && last.mess_type == 9);
    CHECK(receive(mbox, 0, GROUPS, 5) == BUFFER_TOO_SHORT);
    CHECK(last.num_groups == 0 && last.mismatch == -10 && last.type == AGREED_MESS);
    CHECK(receive(mbox, 0, GROUPS, 10) == 10);
    CHECK(SP_multicast(mbox, AGREED_MESS, own, 9, 10, "0123456789") == 10);
    CHECK(receive(mbox, DROP_RECV, GROUPS, 4) == BUFFER_TOO_SHORT);
    CHECK(memcmp(last.body, "0123\0", 5) == 0);
    CHECK(SP_poll(mbox) == 0);
    CHECK(SP_disconnect(mbox) == 0);
}

static void a_message_may_lie_in_pieces(const char *daemon)
{
    char own[MAX_GROUP_NAME], sender[MAX_GROUP_NAME], groups[1][MAX_GROUP_NAME];
    char first[3], second[20];
    static scatter scat;
    service type = 0;
    int num_groups, mismatch;
    int16 mess_type;
    mailbox mbox = connected(daemon, own);

    scat.num_elements = 2;
    scat.elements[0].buf = memcpy(first, "abc", 3);
    scat.elements[0].len = 3;
    scat.elements[1].buf = memcpy(second, "defgh", 5);
    scat.elements[1].len = 5;
    CHECK(SP_scat_multicast(mbox, FIFO_MESS, own, 1, &scat) == 8);
    memset(first, 0, sizeof first);
    memset(second, 0, sizeof second);
    scat.elements[1].len = sizeof second;
    CHECK(SP_scat_receive(mbox, &type, sender, 1, &num_groups, groups, &mess_type, &mismatch,
                          &scat) == 8);
    CHECK(memcmp(first, "abc", 3) == 0 && strcmp(second, "defgh") == 0);
    CHECK(SP_disconnect(mbox) == 0);
}

static int handled;

static void handle(int mbox, int code, void *data)
{
    CHECK(code == 7 && data == &handled);
    CHECK(receive(mbox, 0, GROUPS, BYTES) == 1);
    if (++handled == 10)
        E_exit_events();
}

static void on_time(int code, void *data)
{
    CHECK(code == 8);
    CHECK(SP_multicast(*(mailbox *)data, FIFO_MESS, "c-suite-events", 0, 1, "x") == 1);
    if (handled < 9) {
        sp_time soon = { 0, 100 };
        E_queue(on_time, code, data, soon);
    }
}

static void events_drive_a_program(const char *daemon)
{
    char own[MAX_GROUP_NAME];
    sp_time soon = { 0, 1000 };
    mailbox mbox = connected(daemon, own);

    CHECK(SP_join(mbox, "c-suite-events") == 0);
    CHECK(receive(mbox, 0, GROUPS, BYTES) > 0);
    CHECK(E_init() == 0);
    handled = 0;
    CHECK(E_attach_fd(mbox, READ_FD, handle, 7, &handled, HIGH_PRIORITY) == 0);
    CHECK(E_num_active(HIGH_PRIORITY) == 1);
    CHECK(E_queue(on_time, 8, &mbox, soon) == 0);
    CHECK(E_in_queue(on_time, 8, &mbox) == 1);
    E_handle_events();
    CHECK(handled == 10);
    E_dequeue(on_time, 8, &mbox);
    CHECK(E_detach_fd(mbox, READ_FD) == 0);
    CHECK(SP_disconnect(mbox) == 0);
}

enum { THREADS = 10, MESSAGES = 50 };

struct sending {
    mailbox mbox;
    char to[MAX_GROUP_NAME];
};

static void *send_all(void *argument)
{
    struct sending *sending = argument;
    int i;

    for (i = 0; i < MESSAGES; i++)
        CHECK(SP_multicast(sending->mbox, FIFO_MESS, sending->to, 0, 4, "text") == 4);
    return NULL;
}

static void ten_threads_may_send_while_one_receives(const char *daemon)
{
    pthread_t threads[THREADS];
    struct sending sending;
    int i;

    sending.mbox = connected(daemon, sending.to);
    for (i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, send_all, &sending) == 0);
    for (i = 0; i < THREADS * MESSAGES; i++)
        CHECK(receive(sending.mbox, 0, GROUPS, BYTES) == 4 && memcmp(last.body, "text", 4) == 0);
    for (i = 0; i < THREADS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    CHECK(SP_disconnect(sending.mbox) == 0);
}

static void what_is_no_mailbox_is_refused(void)
{
    CHECK(SP_poll(999) == ILLEGAL_SESSION);
    CHECK(SP_join(999, "g") == ILLEGAL_SESSION);
    CHECK(receive(999, 0, GROUPS, BYTES) == ILLEGAL_SESSION);
    CHECK(SP_strerror(ILLEGAL_SESSION) != NULL);
}

#ifdef OURS
/* What the original does otherwise. */
static void the_process_is_left_as_it_was(const char *daemon)
{
    char own[MAX_GROUP_NAME];
    struct sigaction action;
    mailbox mbox = connected(daemon, own);

    CHECK(sigaction(SIGPIPE, NULL, &action) == 0 && action.sa_handler == SIG_DFL);
    CHECK(fcntl(mbox, F_GETFD) & FD_CLOEXEC);
    CHECK(SP_disconnect(0) == ILLEGAL_SESSION && fcntl(0, F_GETFD) >= 0);
    SP_kill(mbox);
    CHECK(fcntl(mbox, F_GETFD) < 0);
    CHECK(SP_poll(mbox) == ILLEGAL_SESSION);
}
#endif

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: %s DAEMON LIBRARY\n", argv[0]);
        return 2;
    }
    /* Whatever waits for good ends the program. */
    alarm(120);
    the_library_is_the_one_asked_for(argv[2]);
#ifdef OURS
    the_process_is_left_as_it_was(argv[1]);
#endif
    what_is_no_mailbox_is_refused();
    a_group_is_joined_and_left(argv[1]);
    messages_arrive_as_sent(argv[1]);
    what_is_too_short_is_told_and_kept(argv[1]);
    a_message_may_lie_in_pieces(argv[1]);
    events_drive_a_program(argv[1]);
    ten_threads_may_send_while_one_receives(argv[1]);
    return 0;
}
