/* Compiles only if sp.h is what spread-sys assumes. The build script adds a line
 * for each constant. */

#include <stddef.h>
#include <sp.h>

#define CHECK(condition, name) \
    typedef char check_of_##name[(condition) ? 1 : -1];

CHECK(sizeof(mailbox) == sizeof(int), mailbox)
CHECK(sizeof(service) == sizeof(int), service)

CHECK(sizeof(scat_element) == sizeof(char *) + sizeof(size_t), scat_element)
CHECK(offsetof(scat_element, len) == sizeof(char *), scat_element_len)
CHECK(sizeof(scatter) == sizeof(size_t) + 100 * sizeof(scat_element), scatter)
CHECK(offsetof(scatter, elements) == sizeof(size_t), scatter_elements)

CHECK(sizeof(group_id) == 12, group_id)
CHECK(sizeof(vs_set_info) == 8, vs_set_info)
CHECK(offsetof(vs_set_info, members_offset) == 4, vs_set_info_members_offset)
CHECK(sizeof(membership_info) == 56, membership_info)
CHECK(offsetof(membership_info, changed_member) == 12, membership_info_changed_member)
CHECK(offsetof(membership_info, num_vs_sets) == 44, membership_info_num_vs_sets)
CHECK(offsetof(membership_info, my_vs_set) == 48, membership_info_my_vs_set)
CHECK(sizeof(sp_time) == 2 * sizeof(long), sp_time)
CHECK(offsetof(sp_time, usec) == sizeof(long), sp_time_usec)
CHECK(sizeof(((sp_time *)0)->usec) == sizeof(long), sp_time_usec_size)
CHECK(sizeof(((membership_info *)0)->changed_member) == 32, changed_member)

/* Declared once more: a declaration with other types does not compile. */
int SP_version(int *, int *, int *);
int SP_connect_timeout(const char *, const char *, int, int, mailbox *, char *, sp_time);
int SP_disconnect(mailbox);
void SP_kill(mailbox);
int SP_join(mailbox, const char *);
int SP_leave(mailbox, const char *);
int SP_multigroup_multicast(mailbox, service, int, const char[][32], short, int, const char *);
int SP_multigroup_scat_multicast(mailbox, service, int, const char[][32], short,
                                 const scatter *);
int SP_receive(mailbox, service *, char *, int, int *, char[][32], short *, int *, int, char *);
int SP_scat_receive(mailbox, service *, char *, int, int *, char[][32], short *, int *,
                    scatter *);
int SP_poll(mailbox);
int SP_set_auth_method(const char *, int (*)(int, void *), void *);
int SP_get_memb_info(const char *, const service, membership_info *);

