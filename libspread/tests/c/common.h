/* What the test programs in C share: checks, a client, and a peer that plays the
 * daemon.
 *
 *     PROGRAM                  prints the names of its tests
 *     PROGRAM DAEMON TEST      runs one; exits with 0 if it passes
 */

#ifndef COMMON_H
#define COMMON_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#include <sp.h>

#define CHECK(condition)                                                      \
    do {                                                                      \
        if (!(condition)) {                                                   \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);   \
            _exit(1);                                                         \
        }                                                                     \
    } while (0)

/* As CHECK(value == expected), and prints the value. */
#define CHECK_IS(value, expected)                                             \
    do {                                                                      \
        long value_ = (value);                                                \
        if (value_ != (expected)) {                                           \
            fprintf(stderr, "%s:%d: %s is %ld\n", __FILE__, __LINE__, #value, \
                    value_);                                                  \
            _exit(1);                                                         \
        }                                                                     \
    } while (0)

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* A test or a process of a test that takes longer, in seconds, has failed. */
#define PATIENCE 120

struct test {
    const char *name;
    void (*run)(void);
};
#define TEST(name) { #name, name }

int run_test(int argc, char **argv, const struct test *tests, size_t count);

/* The address that the program was called with. */
extern const char *daemon_address;

/* Seconds of a clock that only goes forward. */
double now(void);
/* Open descriptors. */
int open_descriptors(void);
int is_open(int fd);

/* fork(2); the child is bounded by PATIENCE, too. */
pid_t fork_bounded(void);
/* Waits for a child; fails unless it exits with 0. */
void child_succeeds(pid_t child);

/* Connects to an address, to get a name from the daemon if the name is "". */
mailbox connected_to(const char *address, const char *name, char private_group[MAX_GROUP_NAME]);
/* Connects to the daemon of the tests. */
mailbox connected(char private_group[MAX_GROUP_NAME]);

/* Results of SP_receive; the body is of the caller. */
struct received {
    int code;
    service type;
    char sender[MAX_GROUP_NAME];
    int num_groups;
    char groups[1][MAX_GROUP_NAME];
    int16 mess_type;
    int mismatch;
};
struct received receive(mailbox mbox, char *body, int size);
/* Sends a short text to the own private group, and receives it. */
void works(mailbox mbox, const char *private_group);

/* A thread that is about to wait, and whether it does by now. */
struct waiter {
    pthread_t thread;
    atomic_int tid;
};
void start(struct waiter *waiter, void *(*body)(void *), void *argument);
/* To be called by the thread just before it waits. */
void about_to_wait(struct waiter *self);
/* Returns once the thread sleeps. */
void until_it_waits(struct waiter *waiter);
/* Cancels a thread that waits; fails unless it ends by that. */
void cancel(struct waiter *waiter);

/* A socket that listens on this host. */
struct listener {
    int fd;
    char address[40];
};
struct listener listening(void);
/* Accepts a client; does the daemon's part of the handshake. */
int accepted(const struct listener *listener);

/* A client's session with a peer that does what the test says. */
struct session {
    mailbox mbox;
    int peer;
};
struct session session_with_peer(void);

enum { HEADER = 48 };

/* Builds a message of AGREED_MESS from #bob#fake to the group "g"; returns its length. */
size_t message(char *to, const char *body, int len);
void write_all(int fd, const char *bytes, size_t len);
/* Reads a whole frame of a client; its service type, 0 at the end of the stream. */
unsigned read_frame(int fd, char *body, int room, int *len);
/* Reads until the client has closed. */
void until_closed(int fd);

#endif
