pub type mailbox = ::std::ffi::c_int;
pub type service = ::std::ffi::c_int;
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct scat_element {
    pub buf: *mut ::std::ffi::c_char,
    pub len: usize,
}
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct scatter {
    pub num_elements: usize,
    pub elements: [scat_element; 100usize],
}
#[repr(C)]
#[derive(Debug, Default, Copy, Clone)]
pub struct group_id {
    pub id: [::std::ffi::c_int; 3usize],
}
#[repr(C)]
#[derive(Debug, Default, Copy, Clone)]
pub struct vs_set_info {
    pub num_members: ::std::ffi::c_uint,
    pub members_offset: ::std::ffi::c_uint,
}
#[repr(C)]
#[derive(Debug, Default, Copy, Clone)]
pub struct membership_info {
    pub gid: group_id,
    pub changed_member: [::std::ffi::c_char; 32usize],
    pub num_vs_sets: ::std::ffi::c_uint,
    pub my_vs_set: vs_set_info,
}
#[repr(C)]
#[derive(Debug, Default, Copy, Clone)]
pub struct sp_time {
    pub sec: ::std::ffi::c_long,
    pub usec: ::std::ffi::c_long,
}
pub const SPREAD_VERSION: i32 = 83886080;
pub const DEFAULT_SPREAD_PORT: i32 = 4803;
pub const MAX_GROUP_NAME: i32 = 32;
pub const MAX_PRIVATE_NAME: i32 = 10;
pub const MAX_PROC_NAME: i32 = 20;
pub const MAX_CLIENT_SCATTER_ELEMENTS: i32 = 100;
pub const UNRELIABLE_MESS: i32 = 1;
pub const RELIABLE_MESS: i32 = 2;
pub const FIFO_MESS: i32 = 4;
pub const CAUSAL_MESS: i32 = 8;
pub const AGREED_MESS: i32 = 16;
pub const SAFE_MESS: i32 = 32;
pub const REGULAR_MESS: i32 = 63;
pub const SELF_DISCARD: i32 = 64;
pub const DROP_RECV: i32 = 16777216;
pub const CAUSED_BY_JOIN: i32 = 256;
pub const CAUSED_BY_LEAVE: i32 = 512;
pub const CAUSED_BY_DISCONNECT: i32 = 1024;
pub const CAUSED_BY_NETWORK: i32 = 2048;
pub const REG_MEMB_MESS: i32 = 4096;
pub const TRANSITION_MESS: i32 = 8192;
pub const MEMBERSHIP_MESS: i32 = 16128;
pub const RESERVED: i32 = 4177920;
pub const REJECT_MESS: i32 = 4194304;
pub const ENDIAN_RESERVED: i64 = 2147483776;
pub const ACCEPT_SESSION: i32 = 1;
pub const ILLEGAL_SPREAD: i32 = -1;
pub const COULD_NOT_CONNECT: i32 = -2;
pub const REJECT_QUOTA: i32 = -3;
pub const REJECT_NO_NAME: i32 = -4;
pub const REJECT_ILLEGAL_NAME: i32 = -5;
pub const REJECT_NOT_UNIQUE: i32 = -6;
pub const REJECT_VERSION: i32 = -7;
pub const CONNECTION_CLOSED: i32 = -8;
pub const REJECT_AUTH: i32 = -9;
pub const ILLEGAL_SESSION: i32 = -11;
pub const ILLEGAL_SERVICE: i32 = -12;
pub const ILLEGAL_MESSAGE: i32 = -13;
pub const ILLEGAL_GROUP: i32 = -14;
pub const BUFFER_TOO_SHORT: i32 = -15;
pub const GROUPS_TOO_SHORT: i32 = -16;
pub const MESSAGE_TOO_LONG: i32 = -17;
pub const NET_ERROR_ON_SESSION: i32 = -18;
pub const SP_BUG: i32 = -19;
pub const ILLEGAL_TIME: i32 = -20;
pub const LOW_PRIORITY: i32 = 0;
pub const MEDIUM_PRIORITY: i32 = 1;
pub const HIGH_PRIORITY: i32 = 2;
pub const NUM_PRIORITY: i32 = 3;
pub const READ_FD: i32 = 0;
pub const WRITE_FD: i32 = 1;
pub const EXCEPT_FD: i32 = 2;
pub const NUM_FDTYPES: i32 = 3;
pub const MAX_FD_EVENTS: i32 = 2000;
unsafe extern "C" {
    pub fn E_init() -> ::std::ffi::c_int;
    pub fn E_get_time() -> sp_time;
    pub fn E_get_time_monotonic() -> sp_time;
    pub fn E_neg_time(t: sp_time) -> sp_time;
    pub fn E_add_time(t: sp_time, delta_t: sp_time) -> sp_time;
    pub fn E_sub_time(t: sp_time, delta_t: sp_time) -> sp_time;
    pub fn E_compare_time(t1: sp_time, t2: sp_time) -> ::std::ffi::c_int;
    pub fn E_queue(
        func: ::std::option::Option<
            unsafe extern "C" fn(code: ::std::ffi::c_int, data: *mut ::std::ffi::c_void),
        >,
        code: ::std::ffi::c_int,
        data: *mut ::std::ffi::c_void,
        delta_time: sp_time,
    ) -> ::std::ffi::c_int;
    pub fn E_in_queue(
        func: ::std::option::Option<
            unsafe extern "C" fn(code: ::std::ffi::c_int, data: *mut ::std::ffi::c_void),
        >,
        code: ::std::ffi::c_int,
        data: *mut ::std::ffi::c_void,
    ) -> ::std::ffi::c_int;
    pub fn E_dequeue(
        func: ::std::option::Option<
            unsafe extern "C" fn(code: ::std::ffi::c_int, data: *mut ::std::ffi::c_void),
        >,
        code: ::std::ffi::c_int,
        data: *mut ::std::ffi::c_void,
    ) -> ::std::ffi::c_int;
    pub fn E_delay(t: sp_time);
    pub fn E_attach_fd(
        fd: ::std::ffi::c_int,
        fd_type: ::std::ffi::c_int,
        func: ::std::option::Option<
            unsafe extern "C" fn(
                fd: ::std::ffi::c_int,
                code: ::std::ffi::c_int,
                data: *mut ::std::ffi::c_void,
            ),
        >,
        code: ::std::ffi::c_int,
        data: *mut ::std::ffi::c_void,
        priority: ::std::ffi::c_int,
    ) -> ::std::ffi::c_int;
    pub fn E_detach_fd(
        fd: ::std::ffi::c_int,
        fd_type: ::std::ffi::c_int,
    ) -> ::std::ffi::c_int;
    pub fn E_detach_fd_priority(
        fd: ::std::ffi::c_int,
        fd_type: ::std::ffi::c_int,
        priority: ::std::ffi::c_int,
    ) -> ::std::ffi::c_int;
    pub fn E_activate_fd(
        fd: ::std::ffi::c_int,
        fd_type: ::std::ffi::c_int,
    ) -> ::std::ffi::c_int;
    pub fn E_deactivate_fd(
        fd: ::std::ffi::c_int,
        fd_type: ::std::ffi::c_int,
    ) -> ::std::ffi::c_int;
    pub fn E_set_active_threshold(priority: ::std::ffi::c_int) -> ::std::ffi::c_int;
    pub fn E_num_active(priority: ::std::ffi::c_int) -> ::std::ffi::c_int;
    pub fn E_handle_events();
    pub fn E_exit_events();
    pub fn E_exit_events_async_safe();
    pub fn SP_version(
        major_version: *mut ::std::ffi::c_int,
        minor_version: *mut ::std::ffi::c_int,
        patch_version: *mut ::std::ffi::c_int,
    ) -> ::std::ffi::c_int;
    pub fn SP_set_auth_method(
        auth_name: *const ::std::ffi::c_char,
        auth_function: ::std::option::Option<
            unsafe extern "C" fn(
                arg1: ::std::ffi::c_int,
                arg2: *mut ::std::ffi::c_void,
            ) -> ::std::ffi::c_int,
        >,
        auth_data: *mut ::std::ffi::c_void,
    ) -> ::std::ffi::c_int;
    pub fn SP_set_auth_methods(
        num_methods: ::std::ffi::c_int,
        auth_name: *mut *const ::std::ffi::c_char,
        auth_function: *mut ::std::option::Option<
            unsafe extern "C" fn(
                arg1: ::std::ffi::c_int,
                arg2: *mut ::std::ffi::c_void,
            ) -> ::std::ffi::c_int,
        >,
        auth_data: *mut *mut ::std::ffi::c_void,
    ) -> ::std::ffi::c_int;
    pub fn SP_connect(
        spread_name: *const ::std::ffi::c_char,
        private_name: *const ::std::ffi::c_char,
        priority: ::std::ffi::c_int,
        group_membership: ::std::ffi::c_int,
        mbox: *mut mailbox,
        private_group: *mut ::std::ffi::c_char,
    ) -> ::std::ffi::c_int;
    pub fn SP_connect_timeout(
        spread_name: *const ::std::ffi::c_char,
        private_name: *const ::std::ffi::c_char,
        priority: ::std::ffi::c_int,
        group_membership: ::std::ffi::c_int,
        mbox: *mut mailbox,
        private_group: *mut ::std::ffi::c_char,
        time_out: sp_time,
    ) -> ::std::ffi::c_int;
    pub fn SP_disconnect(mbox: mailbox) -> ::std::ffi::c_int;
    pub fn SP_kill(mbox: mailbox);
    pub fn SP_join(mbox: mailbox, group: *const ::std::ffi::c_char) -> ::std::ffi::c_int;
    pub fn SP_leave(
        mbox: mailbox,
        group: *const ::std::ffi::c_char,
    ) -> ::std::ffi::c_int;
    pub fn SP_multicast(
        mbox: mailbox,
        service_type: service,
        group: *const ::std::ffi::c_char,
        mess_type: ::std::ffi::c_short,
        mess_len: ::std::ffi::c_int,
        mess: *const ::std::ffi::c_char,
    ) -> ::std::ffi::c_int;
    pub fn SP_multigroup_multicast(
        mbox: mailbox,
        service_type: service,
        num_groups: ::std::ffi::c_int,
        groups: *const [::std::ffi::c_char; 32usize],
        mess_type: ::std::ffi::c_short,
        mess_len: ::std::ffi::c_int,
        mess: *const ::std::ffi::c_char,
    ) -> ::std::ffi::c_int;
    pub fn SP_scat_multicast(
        mbox: mailbox,
        service_type: service,
        group: *const ::std::ffi::c_char,
        mess_type: ::std::ffi::c_short,
        scat_mess: *const scatter,
    ) -> ::std::ffi::c_int;
    pub fn SP_multigroup_scat_multicast(
        mbox: mailbox,
        service_type: service,
        num_groups: ::std::ffi::c_int,
        groups: *const [::std::ffi::c_char; 32usize],
        mess_type: ::std::ffi::c_short,
        scat_mess: *const scatter,
    ) -> ::std::ffi::c_int;
    pub fn SP_receive(
        mbox: mailbox,
        service_type: *mut service,
        sender: *mut ::std::ffi::c_char,
        max_groups: ::std::ffi::c_int,
        num_groups: *mut ::std::ffi::c_int,
        groups: *mut [::std::ffi::c_char; 32usize],
        mess_type: *mut ::std::ffi::c_short,
        endian_mismatch: *mut ::std::ffi::c_int,
        max_mess_len: ::std::ffi::c_int,
        mess: *mut ::std::ffi::c_char,
    ) -> ::std::ffi::c_int;
    pub fn SP_scat_receive(
        mbox: mailbox,
        service_type: *mut service,
        sender: *mut ::std::ffi::c_char,
        max_groups: ::std::ffi::c_int,
        num_groups: *mut ::std::ffi::c_int,
        groups: *mut [::std::ffi::c_char; 32usize],
        mess_type: *mut ::std::ffi::c_short,
        endian_mismatch: *mut ::std::ffi::c_int,
        scat_mess: *mut scatter,
    ) -> ::std::ffi::c_int;
    pub fn SP_get_memb_info(
        memb_mess: *const ::std::ffi::c_char,
        service_type: service,
        memb_info: *mut membership_info,
    ) -> ::std::ffi::c_int;
    pub fn SP_scat_get_memb_info(
        memb_mess_scat: *const scatter,
        service_type: service,
        memb_info: *mut membership_info,
    ) -> ::std::ffi::c_int;
    pub fn SP_get_vs_sets_info(
        memb_mess: *const ::std::ffi::c_char,
        vs_sets: *mut vs_set_info,
        num_vs_sets: ::std::ffi::c_int,
        my_vs_set_index: *mut ::std::ffi::c_uint,
    ) -> ::std::ffi::c_int;
    pub fn SP_scat_get_vs_sets_info(
        memb_mess_scat: *const scatter,
        vs_sets: *mut vs_set_info,
        num_vs_sets: ::std::ffi::c_int,
        my_vs_set_index: *mut ::std::ffi::c_uint,
    ) -> ::std::ffi::c_int;
    pub fn SP_get_vs_set_members(
        memb_mess: *const ::std::ffi::c_char,
        vs_set: *const vs_set_info,
        member_names: *mut [::std::ffi::c_char; 32usize],
        member_names_count: ::std::ffi::c_int,
    ) -> ::std::ffi::c_int;
    pub fn SP_scat_get_vs_set_members(
        memb_mess_scat: *const scatter,
        vs_set: *const vs_set_info,
        member_names: *mut [::std::ffi::c_char; 32usize],
        member_names_count: ::std::ffi::c_int,
    ) -> ::std::ffi::c_int;
    pub fn SP_poll(mbox: mailbox) -> ::std::ffi::c_int;
    pub fn SP_equal_group_ids(g1: group_id, g2: group_id) -> ::std::ffi::c_int;
    pub fn SP_strerror(error: ::std::ffi::c_int) -> *const ::std::ffi::c_char;
    pub fn SP_error(error: ::std::ffi::c_int);
}
