import type { Seccomp } from "../core/spec.ts";

/*
 * The default seccomp profile: what Docker and containerd allow, for the native ABIs of x86-64 and arm64.
 *
 * It is a list of what is allowed; the rest is answered with EPERM. What a program has a way around is answered with ENOSYS,
 * so that it takes that way. io_uring is not allowed: it reaches around this filter, and was the way out of many containers.
 */

type Rule = NonNullable<Seccomp["syscalls"]>[number];

/** Splits a text into words. */
const words = (text: string): string[] => text.trim().split(/\s+/);

const files = words(`
  access chdir chmod chown close close_range copy_file_range creat dup dup2 dup3 faccessat faccessat2 fadvise64 fallocate
  fchdir fchmod fchmodat fchmodat2 fchown fchownat fcntl fdatasync flock fstat fstatfs fsync ftruncate futimesat getcwd
  getdents getdents64 ioctl lchown link linkat lseek lstat mkdir mkdirat mknod mknodat name_to_handle_at newfstatat open
  openat openat2 pipe pipe2 pread64 preadv preadv2 pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv
  rename renameat renameat2 rmdir sendfile splice stat statfs statx symlink symlinkat sync sync_file_range syncfs tee
  truncate umask unlink unlinkat utime utimensat utimes vmsplice write writev
  fgetxattr flistxattr fremovexattr fsetxattr getxattr getxattrat lgetxattr listxattr listxattrat llistxattr lremovexattr
  lsetxattr removexattr removexattrat setxattr setxattrat
  fanotify_mark inotify_add_watch inotify_init inotify_init1 inotify_rm_watch
  io_cancel io_destroy io_getevents io_pgetevents io_setup io_submit
  epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd eventfd2
  poll ppoll pselect6 select signalfd signalfd4
`);

const memory = words(`
  brk cachestat madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mlock mlock2 mlockall mmap mprotect
  mremap mseal msync munlock munlockall munmap pkey_alloc pkey_free pkey_mprotect remap_file_pages
`);

const processes = words(`
  capget capset execve execveat exit exit_group fork get_robust_list getcpu getegid geteuid getgid getgroups getpgid
  getpgrp getpid getppid getpriority getresgid getresuid getrlimit getrusage getsid gettid getuid ioprio_get ioprio_set
  kill landlock_add_rule landlock_create_ruleset landlock_restrict_self pause pidfd_open pidfd_send_signal prctl
  prlimit64 process_mrelease process_vm_readv process_vm_writev ptrace restart_syscall rseq rt_sigaction rt_sigpending
  rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_tgsigqueueinfo sched_get_priority_max
  sched_get_priority_min sched_getaffinity sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval
  sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield seccomp set_robust_list set_tid_address
  setfsgid setfsuid setgid setgroups setpgid setpriority setregid setresgid setresuid setreuid setrlimit setsid setuid
  sigaltstack sysinfo tgkill times tkill uname vfork wait4 waitid
  futex futex_requeue futex_wait futex_waitv futex_wake
  arch_prctl get_thread_area modify_ldt set_thread_area uretprobe
`);

const sockets = words(`
  accept accept4 bind connect getpeername getsockname getsockopt listen recvfrom recvmmsg recvmsg sendmmsg sendmsg sendto
  setsockopt shutdown socketpair
`);

const systemV = words(`
  mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedsend mq_unlink msgctl msgget msgrcv msgsnd semctl semget semop
  semtimedop shmat shmctl shmdt shmget
`);

const time = words(`
  adjtimex alarm clock_adjtime clock_getres clock_gettime clock_nanosleep getitimer getrandom gettimeofday nanosleep
  setitimer time timer_create timer_delete timer_getoverrun timer_gettime timer_settime timerfd_create timerfd_gettime
  timerfd_settime
`);

/** What a capability allows beyond it. */
const byCapability: Readonly<Record<string, readonly string[]>> = {
  CAP_BPF: words("bpf"),
  CAP_DAC_READ_SEARCH: words("open_by_handle_at"),
  CAP_PERFMON: words("perf_event_open"),
  CAP_SYS_ADMIN: words(`
    bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick listmount lookup_dcookie mount mount_setattr move_mount
    open_tree open_tree_attr perf_event_open quotactl quotactl_fd setdomainname sethostname setns statmount syslog umount2
    unshare
  `),
  CAP_SYS_BOOT: words("reboot"),
  CAP_SYS_CHROOT: words("chroot"),
  CAP_SYS_MODULE: words("delete_module finit_module init_module"),
  CAP_SYS_NICE: words("get_mempolicy mbind set_mempolicy set_mempolicy_home_node"),
  CAP_SYS_PACCT: words("acct"),
  CAP_SYS_PTRACE: words("kcmp pidfd_getfd process_madvise"),
  CAP_SYS_RAWIO: words("ioperm iopl"),
  CAP_SYS_TIME: words("clock_settime settimeofday"),
  CAP_SYS_TTY_CONFIG: words("vhangup"),
  CAP_SYSLOG: words("syslog"),
};

/** Programs that meet ENOSYS here do without, or take an older call. */
const absent = words(`
  io_uring_enter io_uring_register io_uring_setup listmount lsm_get_self_attr lsm_list_modules lsm_set_self_attr statmount
`);

/** Every CLONE_NEW* flag but CLONE_NEWTIME, which `clone` takes for a part of the exit signal. */
const cloneNamespaces = 0x7e02_0000;

const AF_VSOCK = 40;
/** The last address family that this list knows (AF_MCTP). */
const lastFamily = 45;
const ENOSYS = 38;
const EPERM = 1;

/** PER_LINUX and PER_LINUX32, each with and without UNAME26, and the question for the present one. */
const personalities = [0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/**
 * The default profile for a process that may hold these capabilities.
 *
 * @param capabilities its bounding set.
 * @returns a new object; keep it, since what is compiled from it is cached by its identity.
 * @see https://docs.docker.com/engine/security/seccomp/
 */
export function defaultSeccomp(capabilities: readonly string[]): Seccomp {
  const admin = capabilities.includes("CAP_SYS_ADMIN");
  const granted = new Set(capabilities.flatMap((capability) => byCapability[capability] ?? []));
  const allowed = [...files, ...memory, ...processes, ...sockets, ...systemV, ...time, ...granted];
  return {
    defaultAction: "SCMP_ACT_ERRNO",
    defaultErrnoRet: EPERM,
    syscalls: [
      { names: allowed, action: "SCMP_ACT_ALLOW" },
      ...personalities.map((value) => allowIf("personality", { index: 0, value, op: "SCMP_CMP_EQ" })),
      ...socketFamilies(),
      ...(admin ? [] : [
        allowIf("clone", { index: 0, value: cloneNamespaces, valueTwo: 0, op: "SCMP_CMP_MASKED_EQ" }),
        // Its flags are behind a pointer, where a filter cannot look: libraries go back to clone.
        { names: ["clone3"], action: "SCMP_ACT_ERRNO", errnoRet: ENOSYS } as const,
      ]),
      { names: absent.filter((name) => !granted.has(name)), action: "SCMP_ACT_ERRNO", errnoRet: ENOSYS },
    ],
  };
}

/**
 * All address families but AF_VSOCK, which reaches the machine's hypervisor past every network namespace. The kernel takes
 * 32 bits of what is compared as 64 here: a rule "not 40" would let 2^32 + 40 through.
 */
function socketFamilies(): readonly Rule[] {
  const above = Array.from({ length: lastFamily - AF_VSOCK }, (_, i) => AF_VSOCK + 1 + i);
  return [
    allowIf("socket", { index: 0, value: AF_VSOCK, op: "SCMP_CMP_LT" }),
    ...above.map((value) => allowIf("socket", { index: 0, value, op: "SCMP_CMP_EQ" })),
  ];
}

function allowIf(name: string, condition: NonNullable<Rule["args"]>[number]): Rule {
  return { names: [name], action: "SCMP_ACT_ALLOW", args: [condition] };
}
