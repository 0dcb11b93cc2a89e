# The interpreter of syscall programs, AArch64: int64_t stub(struct context *). It does what x64.s does, which tells more.
#
# The child of a clone shares this memory and this thread's stack pointer (CLONE_VFORK): nothing here touches the stack
# between the clone and the moment it has executed or ended, nor does a launcher.
#
# x19: the context. x20: the current operation. w21: its flags. x22: where its six arguments lie. x24: the launcher.
# x0: the last result.

	.set SYS_exit, 93
	.set SYS_exit_group, 94
	.set SYS_futex, 98
	.set SYS_rt_sigaction, 134
	.set SYS_rt_sigprocmask, 135
	.set SYS_clone3, 435
	.set SIG_SETMASK, 2
	.set FUTEX_WAIT, 0
	.set FUTEX_WAKE, 1
	.set SIGSET_BYTES, 8
	.set EINTR, 4
	.set MAX_ERRNO, 4095

	stp x29, x30, [sp, #-64]!
	stp x19, x20, [sp, #16]
	stp x21, x22, [sp, #32]
	stp x23, x24, [sp, #48]
	mov x19, x0
	ldr x20, [x19, #CONTEXT_operations]
	ldr x9, [x19, #CONTEXT_clone]
	mov x0, xzr
	cbz x9, next

# No handler of this process may run in the child: block every signal around the clone.
	mov x0, #SIG_SETMASK
	add x1, x19, #CONTEXT_all
	add x2, x19, #CONTEXT_mask
	mov x3, #SIGSET_BYTES
	mov x8, #SYS_rt_sigprocmask
	svc #0
	ldr x0, [x19, #CONTEXT_clone]
	mov x1, #CLONE_ARGS_size
	mov x8, #SYS_clone3
	svc #0
	cbz x0, made
	mov x23, x0
	mov x0, #SIG_SETMASK
	add x1, x19, #CONTEXT_mask
	mov x2, xzr
	mov x3, #SIGSET_BYTES
	mov x8, #SYS_rt_sigprocmask
	svc #0
	mov x0, x23
return:
	ldp x23, x24, [sp, #48]
	ldp x21, x22, [sp, #32]
	ldp x19, x20, [sp, #16]
	ldp x29, x30, [sp], #64
	ret

made:
	ldr x24, [x19, #CONTEXT_launcher]
	cbz x24, child

# A launcher. All signals are blocked, as they were around the clone. The state is 0 before who waits for the child is woken.
sleep:
	add x0, x24, #LAUNCHER_state
	mov x1, #FUTEX_WAIT
	mov x2, xzr
	mov x3, xzr
	mov x8, #SYS_futex
	svc #0
	add x9, x24, #LAUNCHER_state
	ldar w9, [x9]
	cbz w9, sleep
	ldr x19, [x24, #LAUNCHER_context]
	cbz x19, leave
	ldr x20, [x19, #CONTEXT_operations]
	ldr x0, [x19, #CONTEXT_clone]
	mov x1, #CLONE_ARGS_size
	mov x8, #SYS_clone3
	svc #0
	cbz x0, child
	str x0, [x19, #CONTEXT_child]
	str wzr, [x24, #LAUNCHER_state]
	add x0, x19, #CONTEXT_done
	mov w9, #1
	stlr w9, [x0]
	mov x1, #FUTEX_WAKE
	mov x2, #1
	mov x8, #SYS_futex
	svc #0
	b sleep
leave:
	mov x0, xzr
	mov x8, #SYS_exit
	svc #0
	brk #0

# CLONE_CLEAR_SIGHAND has removed the handlers; what is ignored would stay so across execve. SIGKILL and SIGSTOP refuse.
child:
	mov x22, #64
default:
	mov x0, x22
	add x1, x19, #CONTEXT_none
	mov x2, xzr
	mov x3, #SIGSET_BYTES
	mov x8, #SYS_rt_sigaction
	svc #0
	subs x22, x22, #1
	b.ne default
	mov x0, #SIG_SETMASK
	add x1, x19, #CONTEXT_none
	mov x2, xzr
	mov x3, #SIGSET_BYTES
	mov x8, #SYS_rt_sigprocmask
	svc #0

next:
	str x20, [x19, #CONTEXT_current]
	ldr w8, [x20, #OPERATION_number]
	cmn w8, #-PSEUDO_end
	b.eq end
	ldr w21, [x20, #OPERATION_flags]
	add x22, x20, #OPERATION_args
	mov w9, #FLAGS_anyIndirect
	tst w21, w9
	b.eq call

# Follow the references into a second row of arguments; the program itself stays as it is and can be run again.
	mov x9, xzr
	add x12, x19, #CONTEXT_resolved
resolve:
	ldr x10, [x22, x9, lsl #3]
	lsr w11, w21, w9
	tbnz w11, #0, wide
	tbz w11, #8, value
	ldrsw x10, [x10]
	b value
wide:
	ldr x10, [x10]
value:
	str x10, [x12, x9, lsl #3]
	add x9, x9, #1
	cmp x9, #6
	b.lo resolve
	mov x22, x12

call:
	ldp x0, x1, [x22]
	ldp x2, x3, [x22, #16]
	ldp x4, x5, [x22, #32]
	ldr w8, [x20, #OPERATION_number]
	cmn w8, #-PSEUDO_move
	b.eq store
	svc #0
	cmn x0, #EINTR
	b.ne store
	mov w9, #FLAGS_retry
	tst w21, w9
	b.ne call

store:
	ldr x9, [x20, #OPERATION_store]
	cbz x9, branch
	str x0, [x9]

branch:
	cmn x0, #MAX_ERRNO
	b.hs error
	cbz x0, zero
	ldrsw x9, [x20, #OPERATION_onNonZero]
	add x20, x20, x9
	b next
zero:
	ldrsw x9, [x20, #OPERATION_onZero]
	add x20, x20, x9
	b next
error:
	ldrsw x9, [x20, #OPERATION_onError]
	add x20, x20, x9
	cbnz x9, next
	str x0, [x19, #CONTEXT_error]

# A child has nowhere to return to: 0 after a program's end, 127 after a failure.
end:
	ldr x9, [x19, #CONTEXT_clone]
	cbz x9, return
	ldr x9, [x19, #CONTEXT_error]
	mov x0, xzr
	cbz x9, exit
	mov x0, #127
exit:
	mov x8, #SYS_exit_group
	svc #0
	brk #0
