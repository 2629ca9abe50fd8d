/* sp_func.h: the functions of libspread, which sp.h includes.
 *
 * Unless told otherwise they return a negative code when they fail.
 */

#ifndef INC_SP_FUNC
#define INC_SP_FUNC

#include "sp.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Returns 1, or 0 if a pointer is null. */
int SP_version(int *major_version, int *minor_version, int *patch_version);

/* Have all later connects of the process authenticate with these methods, up to
 * 3, in turn. During a connect, auth_function does the client's part on the
 * descriptor, where reads and writes block, and returns 0 to give up. Return 1,
 * or 0 if a name is too long or a function null. */
int SP_set_auth_method(const char *auth_name,
                       int (*auth_function)(int, void *), void *auth_data);
int SP_set_auth_methods(int num_methods, const char *auth_name[],
                        int (*auth_function[])(int, void *),
                        void *auth_data[]);

/* Connects to the daemon "PORT" (this host) or "PORT@HOST"; null or "" is
 * "4803". A private name has 1 to 10 bytes, and a longer one is cut; null or ""
 * to be given one. private_group has room for MAX_GROUP_NAME bytes. Returns
 * ACCEPT_SESSION, and only then sets mbox and private_group. A time_out of (0, 0)
 * is none. */
int SP_connect(const char *spread_name, const char *private_name,
               int priority, int group_membership,
               mailbox *mbox, char *private_group);
int SP_connect_timeout(const char *spread_name, const char *private_name,
                       int priority, int group_membership,
                       mailbox *mbox, char *private_group,
                       sp_time time_out);

/* Ends a session; SP_kill does not tell the daemon. Both wake the threads that
 * wait in the session. SP_disconnect waits for the daemon, a second at most. */
int SP_disconnect(mailbox mbox);
void SP_kill(mailbox mbox);

int SP_join(mailbox mbox, const char *group);
int SP_leave(mailbox mbox, const char *group);

/* Return mess_len. At most 43 groups, and at most 143151 bytes of mess_len
 * and MAX_GROUP_NAME a group together. */
int SP_multicast(mailbox mbox, service service_type, const char *group,
                 int16 mess_type, int mess_len, const char *mess);
int SP_multigroup_multicast(mailbox mbox, service service_type,
                            int num_groups,
                            const char groups[][MAX_GROUP_NAME],
                            int16 mess_type, int mess_len, const char *mess);
int SP_scat_multicast(mailbox mbox, service service_type, const char *group,
                      int16 mess_type, const scatter *scat_mess);
int SP_multigroup_scat_multicast(mailbox mbox, service service_type,
                                 int num_groups,
                                 const char groups[][MAX_GROUP_NAME],
                                 int16 mess_type, const scatter *scat_mess);

/* Returns the bytes of the message, and waits for one. *service_type is read,
 * too: 0, or DROP_RECV to have a message cut that does not fit. Without it the
 * message stays, and *num_groups and *endian_mismatch are minus the groups and
 * the bytes that it takes. */
int SP_receive(mailbox mbox, service *service_type,
               char sender[MAX_GROUP_NAME], int max_groups,
               int *num_groups, char groups[][MAX_GROUP_NAME],
               int16 *mess_type, int *endian_mismatch,
               int max_mess_len, char *mess);
int SP_scat_receive(mailbox mbox, service *service_type,
                    char sender[MAX_GROUP_NAME], int max_groups,
                    int *num_groups, char groups[][MAX_GROUP_NAME],
                    int16 *mess_type, int *endian_mismatch,
                    scatter *scat_mess);

/* Tell what the body of a membership message says, as it was received whole; with
 * the type it was received with. The answer to a leave has no body, and zeros for
 * info. Returns 1. */
int SP_get_memb_info(const char *memb_mess, const service service_type,
                     membership_info *memb_info);
int SP_scat_get_memb_info(const scatter *memb_mess_scat,
                          const service service_type,
                          membership_info *memb_info);

/* Return the number of sets, or BUFFER_TOO_SHORT if there are more. */
int SP_get_vs_sets_info(const char *memb_mess, vs_set_info *vs_sets,
                        int num_vs_sets, unsigned int *my_vs_set_index);
int SP_scat_get_vs_sets_info(const scatter *memb_mess_scat,
                             vs_set_info *vs_sets, int num_vs_sets,
                             unsigned int *my_vs_set_index);

/* Return the number of members, or BUFFER_TOO_SHORT if there are more. */
int SP_get_vs_set_members(const char *memb_mess, const vs_set_info *vs_set,
                          char member_names[][MAX_GROUP_NAME],
                          int member_names_count);
int SP_scat_get_vs_set_members(const scatter *memb_mess_scat,
                               const vs_set_info *vs_set,
                               char member_names[][MAX_GROUP_NAME],
                               int member_names_count);

/* Returns the bytes that wait, 0 if there are none. */
int SP_poll(mailbox mbox);

/* Returns 1 or 0. */
int SP_equal_group_ids(group_id g1, group_id g2);

/* Returns the meaning of a code. */
const char *SP_strerror(int error);

/* Prints it to standard output. */
void SP_error(int error);

#ifdef __cplusplus
}
#endif

#endif /* INC_SP_FUNC */
