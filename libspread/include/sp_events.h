/* sp_events.h: time, and an event loop for programs with one thread.
 *
 * sp.h includes this file; it can be used without it, too.
 */

#ifndef INC_SP_EVENTS
#define INC_SP_EVENTS

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

#define LOW_PRIORITY    0
#define MEDIUM_PRIORITY 1
#define HIGH_PRIORITY   2
#define NUM_PRIORITY    3

#define READ_FD         0
#define WRITE_FD        1
#define EXCEPT_FD       2
#define NUM_FDTYPES     3

#define MAX_FD_EVENTS   2000  /* of one priority */

/* A time, or a length of time; both parts have the same sign. */
typedef struct sp_time {
    long sec;
    long usec;  /* microseconds, less than a million */
} sp_time;

/* Forgets all events; call it first. Returns 0. */
int E_init(void);

/* The time of day since 1970; the time of a clock that only goes forward. */
sp_time E_get_time(void);
sp_time E_get_time_monotonic(void);

sp_time E_neg_time(sp_time t);
sp_time E_add_time(sp_time t, sp_time delta_t);
sp_time E_sub_time(sp_time t, sp_time delta_t);

/* Returns 1 if t1 is later, -1 if t2 is, 0 if they are equal. */
int E_compare_time(sp_time t1, sp_time t2);

/* Has func(code, data) called once, delta_time from now; if the same call is
 * queued already, it moves. Returns 0. */
int E_queue(void (*func)(int code, void *data), int code, void *data,
            sp_time delta_time);

/* Returns 1 or 0. */
int E_in_queue(void (*func)(int code, void *data), int code, void *data);

/* Returns 0, or -1 if it is not queued. Leaves the data alone. */
int E_dequeue(void (*func)(int code, void *data), int code, void *data);

/* Waits so long, or until a signal comes. */
void E_delay(sp_time t);

/* Has func(fd, code, data) called as often as fd is ready. Returns 0, or 1 if it
 * takes the place of what was attached with this priority, or -1. */
int E_attach_fd(int fd, int fd_type,
                void (*func)(int fd, int code, void *data), int code,
                void *data, int priority);

/* Return 0, or -1 if nothing is attached. */
int E_detach_fd(int fd, int fd_type);
int E_detach_fd_priority(int fd, int fd_type, int priority);
int E_activate_fd(int fd, int fd_type);
int E_deactivate_fd(int fd, int fd_type);

/* Has descriptors of lower priority wait. Returns priority, or -1. */
int E_set_active_threshold(int priority);

/* Returns how many are attached and active, or -1. */
int E_num_active(int priority);

/* Calls back, round after round: the timers that are due; of the descriptors
 * above LOW_PRIORITY all that are ready and of the highest priority among these;
 * and one of LOW_PRIORITY. Returns when one of the other two was called, of which
 * the latter is for signal handlers. */
void E_handle_events(void);
void E_exit_events(void);
void E_exit_events_async_safe(void);

#ifdef __cplusplus
}
#endif

#endif /* INC_SP_EVENTS */
