/* The clients of spreadctl bench in C, as a C program uses Spread: with sp.h,
 * and nothing else.
 *
 *     cc -O2 -o bench_c bench.c -lspread
 *     spreadctl bench --versus 4803 --versus-client ./bench_c
 *
 * The arguments are those of spreadctl/src/bench/options.rs (ClientArgs), and the last
 * line of the output is that of spreadctl/src/bench/outcome.rs (Report).
 */

#define _GNU_SOURCE

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <sp.h>

enum {
    MAX_BODY = 150000,
    MAX_GROUPS = 128,
    /* Messages of a flood that are timed, at the most. */
    SAMPLES = 10000
};

static struct {
    const char *daemon, *group, *peer;
    int size, window, receivers, senders, groups, batch, index, service;
    long count, warm_up, daemon_pid;
} args = { .window = 1, .receivers = 1, .groups = 1, .batch = 1, .service = AGREED_MESS };

/* The connection, and the message that was received last. */
static mailbox mbox;
static char private_group[MAX_GROUP_NAME];
static char *payload;
static char body[MAX_BODY];
static char sender[MAX_GROUP_NAME];
static char groups[MAX_GROUPS][MAX_GROUP_NAME];
static int length, num_groups;
static int16 type;

static void fail(const char *call, int code) {
    fprintf(stderr, "bench.c: %s: %d\n", call, code);
    exit(1);
}

static void *memory(size_t count, size_t size) {
    void *memory = calloc(count ? count : 1, size);
    if (memory == NULL) fail("calloc", 0);
    return memory;
}

/* Connecting, sending and receiving. */

static void connect_to_daemon(void) {
    int code = SP_connect(args.daemon, "", 0, 1, &mbox, private_group);
    if (code != ACCEPT_SESSION) fail("SP_connect", code);
    payload = memory(args.size, 1);
}

static void disconnect(void) {
    int code = SP_disconnect(mbox);
    if (code != 0) fail("SP_disconnect", code);
}

static void send_to(const char *group, int16 number, int len, const char *bytes) {
    int code = SP_multicast(mbox, args.service, group, number, len, bytes);
    if (code < 0) fail("SP_multicast", code);
}

/* Receives a message of any kind; returns its kind. */
static service receive_any(void) {
    service kind = 0;
    int endian_mismatch;
    length = SP_receive(mbox, &kind, sender, MAX_GROUPS, &num_groups, groups, &type,
                        &endian_mismatch, MAX_BODY, body);
    if (length < 0) fail("SP_receive", length);
    return kind;
}

/* Receives the next message of a client. */
static void receive(void) {
    service kind;
    do {
        kind = receive_any();
    } while (!Is_regular_mess(kind));
}

static void name_group(char *name, int number) {
    snprintf(name, MAX_GROUP_NAME, "%s-%d", args.group, number);
}

/* Joins a group of the run; when this returns, it is a member. */
static void join(const char *name) {
    service kind;
    int code = SP_join(mbox, name);
    if (code != 0) fail("SP_join", code);
    do {
        kind = receive_any();
    } while (!Is_reg_memb_mess(kind) || strcmp(sender, name) != 0);
}

static void say_ready(void) {
    printf("ready %s\n", private_group);
    fflush(stdout);
}

/* The clocks of a measurement. */

static struct {
    double wall, client, daemon;
    clockid_t daemon_clock;
    int has_daemon;
} meter;

static double seconds(clockid_t clock) {
    struct timespec now = { 0, 0 };
    clock_gettime(clock, &now);
    return now.tv_sec + now.tv_nsec / 1e9;
}

static void start(void) {
    meter.has_daemon =
        args.daemon_pid > 0 && clock_getcpuclockid(args.daemon_pid, &meter.daemon_clock) == 0;
    if (meter.has_daemon) meter.daemon = seconds(meter.daemon_clock);
    meter.client = seconds(CLOCK_PROCESS_CPUTIME_ID);
    meter.wall = seconds(CLOCK_MONOTONIC);
}

static void stop(void) {
    meter.wall = seconds(CLOCK_MONOTONIC) - meter.wall;
    meter.client = seconds(CLOCK_PROCESS_CPUTIME_ID) - meter.client;
    if (meter.has_daemon) meter.daemon = seconds(meter.daemon_clock) - meter.daemon;
}

static int compare(const void *a, const void *b) {
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

/* The least of the sorted times that so many thousandths do not exceed. */
static double percentile(const double *times, long count, long thousandths) {
    long rank = (thousandths * count + 999) / 1000;
    return times[rank > 0 ? rank - 1 : 0];
}

/* Prints what was measured; messages are 0 for a client that does not time the
 * run. */
static void report(long messages, double *times, long count) {
    printf("result client_cpu=%.9f", meter.client);
    if (messages > 0) printf(" messages=%ld seconds=%.9f", messages, meter.wall);
    if (meter.has_daemon) printf(" daemon_cpu=%.9f", meter.daemon);
    if (count > 0) {
        qsort(times, count, sizeof *times, compare);
        printf(" p50=%.3f p99=%.3f p999=%.3f", percentile(times, count, 500),
               percentile(times, count, 990), percentile(times, count, 999));
    }
    printf("\n");
    fflush(stdout);
}

/* Sends a batch whenever the window has room for it, and otherwise receives, until
 * `count` messages have arrived. */
static void exchange(long count, void (*send_many)(int), long (*receive_one)(void)) {
    long batch = args.batch < args.window ? args.batch : args.window;
    long sent = 0, arrived = 0;
    while (arrived < count) {
        long next = batch < count - sent ? batch : count - sent;
        if (next > 0 && sent - arrived + next <= args.window) {
            send_many(next);
            sent += next;
        } else {
            arrived = receive_one();
        }
    }
}

/* flood: one client that receives what it sends. */

static struct {
    char (*groups)[MAX_GROUP_NAME];
    int next_group;
    /* Messages so far, of this exchange. */
    long sent, received;
    /* One message of `every` is timed: the next ones, and a ring of when those were
     * sent that are under way. */
    long every, timed_sent, timed_received, ring, begin, end;
    double *begun, *times;
    long timed;
} flood;

static void flood_send(int count) {
    for (; count > 0; count--) {
        if (flood.sent == flood.timed_sent) {
            flood.begun[flood.end] = seconds(CLOCK_MONOTONIC);
            if (++flood.end == flood.ring) flood.end = 0;
            flood.timed_sent += flood.every;
        }
        flood.sent++;
        send_to(flood.groups[flood.next_group], 0, args.size, payload);
        if (++flood.next_group == args.groups) flood.next_group = 0;
    }
}

static long flood_receive(void) {
    receive();
    if (flood.received == flood.timed_received) {
        double begun = flood.begun[flood.begin];
        if (++flood.begin == flood.ring) flood.begin = 0;
        flood.times[flood.timed++] = (seconds(CLOCK_MONOTONIC) - begun) * 1e6;
        flood.timed_received += flood.every;
    }
    return ++flood.received;
}

static void run_flood(void) {
    long most = args.count > args.warm_up ? args.count : args.warm_up;
    connect_to_daemon();
    flood.groups = memory(args.groups, MAX_GROUP_NAME);
    for (int number = 0; number < args.groups; number++) {
        name_group(flood.groups[number], number);
        join(flood.groups[number]);
    }
    flood.every = (args.count + SAMPLES - 1) / SAMPLES;
    flood.ring = args.window;
    flood.begun = memory(flood.ring, sizeof *flood.begun);
    flood.times = memory(most / flood.every + 1, sizeof *flood.times);
    exchange(args.warm_up, flood_send, flood_receive);
    flood.sent = flood.received = flood.timed = 0;
    flood.timed_sent = flood.timed_received = 0;

    start();
    exchange(args.count, flood_send, flood_receive);
    stop();
    report(args.count, flood.times, flood.timed);
    disconnect();
}

/* fanout: one client that sends, and several that tell it what they have. */

static struct {
    char group[MAX_GROUP_NAME];
    unsigned long long *arrived, before;
} fanout;

static void fanout_send(int count) {
    for (; count > 0; count--) send_to(fanout.group, 0, args.size, payload);
}

static long fanout_receive(void) {
    receive();
    if (type < 0 || type >= args.receivers || length != sizeof *fanout.arrived) {
        fail("a word of a receiver", type);
    }
    memcpy(&fanout.arrived[type], body, sizeof *fanout.arrived);
    unsigned long long slowest = fanout.arrived[0];
    for (int index = 1; index < args.receivers; index++) {
        if (fanout.arrived[index] < slowest) slowest = fanout.arrived[index];
    }
    return slowest > fanout.before ? slowest - fanout.before : 0;
}

static void run_send(void) {
    connect_to_daemon();
    name_group(fanout.group, 0);
    fanout.arrived = memory(args.receivers, sizeof *fanout.arrived);
    say_ready();
    for (int index = 0; index < args.receivers; index++) receive();
    exchange(args.warm_up, fanout_send, fanout_receive);
    fanout.before = args.warm_up;

    start();
    exchange(args.count, fanout_send, fanout_receive);
    stop();
    report(args.count * args.receivers, NULL, 0);
    /* Receivers stay until they are told. */
    fanout_send(1);
    disconnect();
}

static unsigned long long received;

static void tell(void) {
    send_to(args.peer, args.index, sizeof received, (const char *)&received);
}

static void receive_until(unsigned long long count) {
    unsigned long long step = args.window / 4 > 1 ? args.window / 4 : 1;
    while (received < count) {
        receive();
        received++;
        if (received % step == 0 || received == count) tell();
    }
}

static void run_receive(void) {
    char name[MAX_GROUP_NAME];
    connect_to_daemon();
    name_group(name, 0);
    join(name);
    tell();
    receive_until(args.warm_up);
    args.daemon_pid = 0;
    start();
    receive_until(args.warm_up + args.count);
    stop();
    report(0, NULL, 0);
    receive();
    disconnect();
}

/* member: one of `receivers` clients of a group, each at a daemon of its own (see
 * benches/hosts/run.sh). The first `senders` of them send, and all receive everything. */

static void run_member(void) {
    char name[MAX_GROUP_NAME];
    long sent = 0, own = 0, total = 0;
    long mine = args.index < args.senders ? args.warm_up + args.count : 0;
    long begin = args.senders * args.warm_up, end = begin + args.senders * args.count;
    connect_to_daemon();
    name_group(name, 0);
    join(name);
    while (num_groups != args.receivers) receive_any();
    while (total < end) {
        if (total == begin) start();
        for (; sent < mine && sent - own < args.window; sent++) {
            send_to(name, 0, args.size, payload);
        }
        receive();
        total++;
        if (strcmp(sender, private_group) == 0) own++;
    }
    stop();
    report(args.senders * args.count, NULL, 0);
    disconnect();
}

/* pingpong: one message that goes to another client and back. */

static void round_trip(void) {
    send_to(args.peer, 0, args.size, payload);
    receive();
}

static void run_ping(void) {
    double *times = memory(args.count, sizeof *times);
    connect_to_daemon();
    for (long trip = 0; trip < args.warm_up; trip++) round_trip();
    start();
    for (long trip = 0; trip < args.count; trip++) {
        double begun = seconds(CLOCK_MONOTONIC);
        round_trip();
        times[trip] = (seconds(CLOCK_MONOTONIC) - begun) * 1e6;
    }
    stop();
    report(2 * args.count, times, args.count);
    disconnect();
}

static void answer(void) {
    receive();
    send_to(sender, 0, args.size, payload);
}

static void run_pong(void) {
    connect_to_daemon();
    say_ready();
    for (long trip = 0; trip < args.warm_up; trip++) answer();
    args.daemon_pid = 0;
    start();
    for (long trip = 0; trip < args.count; trip++) answer();
    stop();
    report(0, NULL, 0);
    disconnect();
}

static int parse_service(const char *name) {
    static const char *const names[] = { "unreliable", "reliable", "fifo", "causal", "agreed",
                                         "safe" };
    for (int bit = 0; bit < 6; bit++) {
        if (strcmp(name, names[bit]) == 0) return UNRELIABLE_MESS << bit;
    }
    fail(name, ILLEGAL_SERVICE);
    return 0;
}

static void parse(int argc, char **argv) {
    static const struct option options[] = {
        { "daemon", 1, NULL, 'd' },    { "group", 1, NULL, 'g' },
        { "peer", 1, NULL, 'p' },      { "size", 1, NULL, 's' },
        { "count", 1, NULL, 'c' },     { "warm-up", 1, NULL, 'w' },
        { "window", 1, NULL, 'o' },    { "receivers", 1, NULL, 'r' },
        { "groups", 1, NULL, 'n' },    { "service", 1, NULL, 'v' },
        { "senders", 1, NULL, 'S' },
        { "batch", 1, NULL, 'b' },     { "index", 1, NULL, 'i' },
        { "daemon-pid", 1, NULL, 'D' }, { NULL, 0, NULL, 0 }
    };
    int option;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
            case 'd': args.daemon = optarg; break;
            case 'g': args.group = optarg; break;
            case 'p': args.peer = optarg; break;
            case 's': args.size = atoi(optarg); break;
            case 'c': args.count = atol(optarg); break;
            case 'w': args.warm_up = atol(optarg); break;
            case 'o': args.window = atoi(optarg); break;
            case 'r': args.receivers = atoi(optarg); break;
            case 'S': args.senders = atoi(optarg); break;
            case 'n': args.groups = atoi(optarg); break;
            case 'v': args.service = parse_service(optarg); break;
            case 'b': args.batch = atoi(optarg); break;
            case 'i': args.index = atoi(optarg); break;
            case 'D': args.daemon_pid = atol(optarg); break;
            default: exit(2);
        }
    }
}

int main(int argc, char **argv) {
    static const struct {
        const char *name;
        void (*run)(void);
    } roles[] = { { "flood", run_flood },     { "send", run_send }, { "receive", run_receive },
                  { "ping", run_ping },       { "pong", run_pong },
                  { "member", run_member } };
    const char *role = argc > 2 && strcmp(argv[1], "client") == 0 ? argv[2] : "";
    for (size_t index = 0; index < sizeof roles / sizeof *roles; index++) {
        if (strcmp(role, roles[index].name) == 0) {
            parse(argc - 2, argv + 2);
            if (args.daemon == NULL || args.group == NULL) break;
            roles[index].run();
            return 0;
        }
    }
    fprintf(stderr, "usage: %s client flood|send|receive|ping|pong|member --daemon ADDRESS ...\n", argv[0]);
    return 2;
}
