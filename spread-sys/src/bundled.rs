//! The library of this project, by its Rust names.

pub use libspread::{
    E_activate_fd, E_add_time, E_attach_fd, E_compare_time, E_deactivate_fd, E_delay, E_dequeue,
    E_detach_fd, E_detach_fd_priority, E_exit_events, E_exit_events_async_safe, E_get_time,
    E_get_time_monotonic, E_handle_events, E_in_queue, E_init, E_neg_time, E_num_active, E_queue,
    E_set_active_threshold, E_sub_time, SP_connect, SP_connect_timeout, SP_disconnect,
    SP_equal_group_ids, SP_error, SP_get_memb_info, SP_get_vs_set_members, SP_get_vs_sets_info,
    SP_join, SP_kill, SP_leave, SP_multicast, SP_multigroup_multicast,
    SP_multigroup_scat_multicast, SP_poll, SP_receive, SP_scat_get_memb_info,
    SP_scat_get_vs_set_members, SP_scat_get_vs_sets_info, SP_scat_multicast, SP_scat_receive,
    SP_set_auth_method, SP_set_auth_methods, SP_strerror, SP_version,
};
pub use libspread::{
    group_id, mailbox, membership_info, scat_element, scatter, service, sp_time, vs_set_info,
};

pub use libspread::{
    ACCEPT_SESSION, AGREED_MESS, BUFFER_TOO_SHORT, CAUSAL_MESS, CAUSED_BY_DISCONNECT,
    CAUSED_BY_JOIN, CAUSED_BY_LEAVE, CAUSED_BY_NETWORK, CONNECTION_CLOSED, COULD_NOT_CONNECT,
    DEFAULT_SPREAD_PORT, DROP_RECV, ENDIAN_RESERVED, EXCEPT_FD, FIFO_MESS, GROUPS_TOO_SHORT,
    HIGH_PRIORITY, ILLEGAL_GROUP, ILLEGAL_MESSAGE, ILLEGAL_SERVICE, ILLEGAL_SESSION,
    ILLEGAL_SPREAD, ILLEGAL_TIME, LOW_PRIORITY, MAX_CLIENT_SCATTER_ELEMENTS, MAX_FD_EVENTS,
    MAX_GROUP_NAME, MAX_PRIVATE_NAME, MAX_PROC_NAME, MEDIUM_PRIORITY, MEMBERSHIP_MESS,
    MESSAGE_TOO_LONG, NET_ERROR_ON_SESSION, NUM_FDTYPES, NUM_PRIORITY, READ_FD, REG_MEMB_MESS,
    REGULAR_MESS, REJECT_AUTH, REJECT_ILLEGAL_NAME, REJECT_MESS, REJECT_NO_NAME, REJECT_NOT_UNIQUE,
    REJECT_QUOTA, REJECT_VERSION, RELIABLE_MESS, RESERVED, SAFE_MESS, SELF_DISCARD, SP_BUG,
    SPREAD_VERSION, TRANSITION_MESS, UNRELIABLE_MESS, WRITE_FD,
};
