/* What programs rely on that the manual pages do not tell. */

#include "common.h"

#include <setjmp.h>
#include <signal.h>
#include <sys/wait.h>

static void a_long_private_name_is_cut(void)
{
    char own[MAX_GROUP_NAME];
    mailbox mbox = connected_to(daemon_address, "averylongname", own);

    CHECK(strncmp(own, "#averylongn#", 12) == 0);
    works(mbox, own);
    CHECK_IS(SP_disconnect(mbox), 0);
}

static void only_the_name_is_written(void)
{
    struct {
        char private_group[MAX_GROUP_NAME];
        char behind[MAX_GROUP_NAME];
    } memory;
    size_t i, len;
    mailbox mbox;

    memset(&memory, 0x55, sizeof memory);
    mbox = connected_to(daemon_address, "bob", memory.private_group);
    len = strlen(memory.private_group);
    CHECK(len > 5 && len < 20);
    for (i = len + 1; i < sizeof memory; i++)
        CHECK_IS(((char *)&memory)[i], 0x55);
    CHECK_IS(SP_join(mbox, "g"), 0);
    CHECK_IS(SP_disconnect(mbox), 0);
}

/* As a line of a file has it. */
static void blanks_around_an_address_are_no_part_of_it(void)
{
    static const char *const forms[] = { "%s", "%s\n", " %s", "%s ", "\t%s\r\n" };
    char own[MAX_GROUP_NAME], address[100];
    size_t i;

    for (i = 0; i < COUNT(forms); i++) {
        snprintf(address, sizeof address, forms[i], daemon_address);
        CHECK_IS(SP_disconnect(connected_to(address, "", own)), 0);
    }
}

static void a_port_may_have_a_sign_and_a_blank_behind_it(void)
{
    char own[MAX_GROUP_NAME], address[300], port[100];
    char *host;

    snprintf(address, sizeof address, "+%s", daemon_address);
    CHECK_IS(SP_disconnect(connected_to(address, "", own)), 0);
    snprintf(port, sizeof port, "%s", daemon_address);
    host = strchr(port, '@');
    CHECK(host != NULL);
    *host++ = 0;
    snprintf(address, sizeof address, "%s @%s", port, host);
    CHECK_IS(SP_disconnect(connected_to(address, "", own)), 0);
}

static void an_address_with_something_else_is_refused(void)
{
    static const char *const forms[] = { "%s@", "@%s", "x%s", "%sx y", "-%s" };
    char own[MAX_GROUP_NAME], address[100];
    sp_time patience = { 20, 0 };
    mailbox mbox = -77;
    size_t i;

    for (i = 0; i < COUNT(forms); i++) {
        snprintf(address, sizeof address, forms[i], daemon_address);
        CHECK(SP_connect_timeout(address, "", 0, 1, &mbox, own, patience) < 0);
        CHECK_IS(mbox, -77);
    }
}

/* Through a pipe, where printf does not write at once. */
static void an_error_is_printed_in_its_place(void)
{
    char text[200] = "";
    size_t len = 0;
    ssize_t count;
    int ends[2];
    pid_t child;

    CHECK(pipe(ends) == 0);
    child = fork_bounded();
    if (child == 0) {
        CHECK(dup2(ends[1], STDOUT_FILENO) == STDOUT_FILENO);
        printf("before\n");
        SP_error(COULD_NOT_CONNECT);
        printf("after\n");
        fflush(stdout);
        _exit(0);
    }
    close(ends[1]);
    while ((count = read(ends[0], text + len, sizeof text - 1 - len)) > 0)
        len += (size_t)count;
    child_succeeds(child);
    CHECK(strncmp(text, "before\nSP_error: (-2) ", 22) == 0);
    CHECK(strcmp(strchr(text + 22, '\n'), "\nafter\n") == 0);
    close(ends[0]);
}

/* Programs compare them, and people look for them. */
static void errors_have_the_texts_of_the_original(void)
{
    static const struct {
        int code;
        const char *text;
    } meanings[] = {
        { ILLEGAL_SPREAD, "Illegal spread name provided." },
        { COULD_NOT_CONNECT, "Could not connect." },
        { REJECT_QUOTA, "Connection rejected, too many users." },
        { REJECT_NO_NAME, "Connection rejected, no name was supplied." },
        { REJECT_ILLEGAL_NAME, "Connection rejected, illegal name." },
        { REJECT_NOT_UNIQUE, "Connection rejected, name not unique." },
        { REJECT_VERSION, "Connection rejected, client library incompatible with daemon." },
        { CONNECTION_CLOSED, "Connection closed by Spread." },
        { REJECT_AUTH, "Connection rejected, authentication failed." },
        { ILLEGAL_SESSION, "Illegal session was supplied." },
        { ILLEGAL_SERVICE, "Illegal service request." },
        { ILLEGAL_MESSAGE, "Illegal message." },
        { ILLEGAL_GROUP, "Illegal group." },
        { BUFFER_TOO_SHORT, "Buffer too short." },
        { GROUPS_TOO_SHORT, "Groups list too short." },
        { MESSAGE_TOO_LONG, "Message (body + group names) too large." },
        { NET_ERROR_ON_SESSION, "Network socket error. SP_kill() the mailbox." },
        { SP_BUG, "Internal Spread bug detected." },
        { ILLEGAL_TIME, "Illegal time." },
        { 77, "Unrecognized error." },
    };
    size_t i;

    for (i = 0; i < COUNT(meanings); i++)
        CHECK(strcmp(SP_strerror(meanings[i].code), meanings[i].text) == 0);
}

#ifdef OURS
static struct waiter waiter;

static void what_is_sent_before_a_disconnect_arrives(void)
{
    char own[MAX_GROUP_NAME], name[MAX_GROUP_NAME], body[10];
    mailbox receiver = connected(own);
    int i;

    for (i = 0; i < 20; i++) {
        mailbox mbox = connected(name);
        CHECK_IS(SP_join(mbox, "traps"), 0);
        CHECK_IS(SP_multicast(mbox, FIFO_MESS, own, (int16)i, 1, "x"), 1);
        CHECK_IS(SP_disconnect(mbox), 0);
        CHECK_IS(receive(receiver, body, sizeof body).mess_type, i);
    }
    CHECK_IS(SP_disconnect(receiver), 0);
}

static sigjmp_buf out;

static void jumps(int signal)
{
    (void)signal;
    siglongjmp(out, 1);
}

static void *signals(void *main_thread)
{
    until_it_waits(&waiter);
    CHECK(pthread_kill(*(pthread_t *)main_thread, SIGUSR1) == 0);
    return NULL;
}

/* As programs do that bound a call by alarm(2). */
static void a_jump_out_of_a_receive(void)
{
    char own[MAX_GROUP_NAME], body[10];
    static pthread_t self, signaller;
    static int before, i;
    static mailbox mbox;

    before = open_descriptors();
    self = pthread_self();
    CHECK(signal(SIGUSR1, jumps) != SIG_ERR);
    for (i = 0; i < 3; i++) {
        mbox = connected(own);
        atomic_store(&waiter.tid, 0);
        CHECK(pthread_create(&signaller, NULL, signals, &self) == 0);
        if (sigsetjmp(out, 1) == 0) {
            about_to_wait(&waiter);
            receive(mbox, body, sizeof body);
            CHECK(!"nothing to receive");
        }
        CHECK(pthread_join(signaller, NULL) == 0);
        if (i > 0) {
            works(mbox, own);
            CHECK_IS(SP_disconnect(mbox), 0);
        } else {
            SP_kill(mbox);
        }
        CHECK(!is_open(mbox));
    }
    CHECK_IS(open_descriptors(), before);
}
#endif

int main(int argc, char **argv)
{
    static const struct test tests[] = {
        TEST(a_long_private_name_is_cut),
        TEST(only_the_name_is_written),
        TEST(blanks_around_an_address_are_no_part_of_it),
        TEST(a_port_may_have_a_sign_and_a_blank_behind_it),
        TEST(an_address_with_something_else_is_refused),
        TEST(an_error_is_printed_in_its_place),
        TEST(errors_have_the_texts_of_the_original),
#ifdef OURS
        TEST(what_is_sent_before_a_disconnect_arrives),
        TEST(a_jump_out_of_a_receive),
#endif
    };

    return run_test(argc, argv, tests, COUNT(tests));
}
