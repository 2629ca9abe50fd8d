/* fl.h: Flush Spread, view synchrony over Spread.
 *
 * A message is delivered in the view it was sent in, to members of that view alone. Before
 * a view changes, a message of type FLUSH_REQ_MESS asks each member to flush the group by
 * FL_flush; from there until it receives the new view it cannot send to the group.
 */

#ifndef INC_FL
#define INC_FL

#include <sp.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Service types besides those of sp.h. */

#define DONT_BLOCK              0x10000000  /* to receive: do not wait */
#define FLUSH_REQ_MESS          0x20000000  /* received: flush the group */
#define SUBGROUP_CAST           0x40000000  /* received: sent to some members */

#define Is_flush_req_mess(t)    (((t) & FLUSH_REQ_MESS) != 0)
#define Is_subgroup_mess(t)     (((t) & SUBGROUP_CAST) != 0)

/* Results besides those of sp.h. */

#define ILLEGAL_PARAM           (-24)
#define WOULD_BLOCK             (-25)
#define ILLEGAL_MESSAGE_TYPE    (-26)
#define ILLEGAL_STATE           (-27)
#define ILLEGAL_RECEIVERS       (-28)

/* Limits. */

#define FL_MAX_SCATTER_ELEMENTS (MAX_CLIENT_SCATTER_ELEMENTS - 1)
#define FL_MIN_LEGAL_MESS_TYPE  ((int16) -32765)

/* May be called once, before all others; need not be. Returns 0. */
int FL_lib_init(void);

void FL_version(int *major_ver, int *minor_ver, int *patch_ver);

/* As SP_connect with membership messages, and SP_disconnect. A mailbox whose connection
 * has ended is gone once a function has returned CONNECTION_CLOSED. */
int FL_connect(const char *daemon_name, const char *user_name, int priority,
               mailbox *mbox, char *private_name);
int FL_disconnect(mailbox mbox);

/* FL_leave is for members that have received a view with themselves. */
int FL_join(mailbox mbox, const char *group_name);
int FL_leave(mailbox mbox, const char *group_name);

/* Agrees to the next view, once for each FLUSH_REQ_MESS. Returns 0. */
int FL_flush(mailbox mbox, const char *group_name);

/* Return the bytes of the message. The group is one whose view has been received, or the
 * private group of a client. mess_type is at least FL_MIN_LEGAL_MESS_TYPE.
 *
 * FL_subgroupcast sends in a group to some of its members: to those of recvr_names alone, 1 to
 * 43 members of the view that this client has received last, the sender only if it is among
 * them. They receive it in that view, as a message of type SUBGROUP_CAST; see FL_receive.
 * FL_unicast is the same with one receiver. */
int FL_multicast(mailbox mbox, service serv_type, const char *group_name,
                 int16 mess_type, int mess_len, const char *mess);
int FL_scat_multicast(mailbox mbox, service serv_type, const char *group_name,
                      int16 mess_type, const scatter *scat_mess);
int FL_subgroupcast(mailbox mbox, service serv_type, const char *group_name,
                    int num_recvrs, char recvr_names[][MAX_GROUP_NAME],
                    int16 mess_type, int mess_len, const char *mess);
int FL_scat_subgroupcast(mailbox mbox, service serv_type,
                         const char *group_name, int num_recvrs,
                         char recvr_names[][MAX_GROUP_NAME],
                         int16 mess_type, const scatter *scat);
int FL_unicast(mailbox mbox, service serv_type, const char *group_name,
               const char *recvr_name, int16 mess_type, int mess_len,
               const char *mess);
int FL_scat_unicast(mailbox mbox, service serv_type, const char *group_name,
                    const char *recvr_name, int16 mess_type,
                    const scatter *scat);

/* Return the bytes of the next message, and wait for one. *serv_type is read, too: 0, or
 * DROP_RECV or DONT_BLOCK or both. *more_msgs is the number of messages that wait in the
 * library, where the descriptor does not show them; more_msgs may be null.
 *
 * The library answers some messages by itself, within these calls, and waits for room to send
 * the answer. With DONT_BLOCK it does not wait: a program that then finds that the descriptor is
 * not writable has to wait for that, too, and call again. Other members may wait for the answer.
 *
 * Of a message to a subgroup, group_names has the receivers and, behind them, the group. Of
 * a view it has the members; the body has the id, an int with the number of names that
 * follow, and the names: of who joined, left or disconnected, or after a network change of
 * those who have come to the view together with this one. */
int FL_receive(mailbox mbox, service *serv_type, char *sender_name,
               int max_groups, int *num_groups,
               char group_names[][MAX_GROUP_NAME], int16 *mess_type,
               int *endian_mismatch, int max_mess_len, char *mess,
               int *more_msgs);
int FL_scat_receive(mailbox mbox, service *serv_type, char *sender_name,
                    int max_groups, int *num_groups,
                    char group_names[][MAX_GROUP_NAME], int16 *mess_type,
                    int *endian_mismatch, scatter *scat_mess,
                    int *more_msgs);

/* Returns the number of messages that wait in the library. */
int FL_more_msgs(mailbox mbox);

/* Returns the bytes that wait, in the library or below, 0 if there are none. */
int FL_poll(mailbox mbox);

/* Prints the meaning of a code to standard output. */
void FL_error(int error_code);

/* Where the parts of a view's body begin. */
int FL_get_gid_offset_memb_mess(void);
int FL_get_num_vs_offset_memb_mess(void);
int FL_get_vs_set_offset_memb_mess(void);

#ifdef __cplusplus
}
#endif

#endif /* INC_FL */
