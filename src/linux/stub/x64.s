# The interpreter of syscall programs, x86-64: int64_t stub(struct context *).
#
# Runs the program in this thread and returns the last result, or the negative errno that ended it; or, with
# context.clone set, makes a child that runs it and returns the child's pid or clone3's negative errno. The child shares
# this memory and this thread's stack pointer, while the thread sleeps until the child has executed or ended (CLONE_VFORK).
# Nothing here touches the stack between the clone and that moment, so that the child needs no stack of its own.
#
# With context.launcher set as well, the clone is a thread of this process and stays here: it makes the children that it is
# told to, as above, and sleeps in their place. It touches no stack either.
#
# rbp: the context. rbx: the current operation. r12: its flags. r13: where its six arguments lie. r14: the launcher.

	.intel_syntax noprefix
	.set SYS_rt_sigaction, 13
	.set SYS_rt_sigprocmask, 14
	.set SYS_exit, 60
	.set SYS_futex, 202
	.set SYS_exit_group, 231
	.set SYS_clone3, 435
	.set SIG_SETMASK, 2
	.set FUTEX_WAIT, 0
	.set FUTEX_WAKE, 1
	.set SIGSET_BYTES, 8
	.set EINTR, 4
	.set MAX_ERRNO, 4095

	push rbx
	push rbp
	push r12
	push r13
	mov rbp, rdi
	mov rbx, [rbp + CONTEXT_operations]
	xor eax, eax
	cmp qword ptr [rbp + CONTEXT_clone], 0
	je next

# No handler of this process may run in the child: block every signal around the clone.
	mov edi, SIG_SETMASK
	lea rsi, [rbp + CONTEXT_all]
	lea rdx, [rbp + CONTEXT_mask]
	mov r10d, SIGSET_BYTES
	mov eax, SYS_rt_sigprocmask
	syscall
	mov rdi, [rbp + CONTEXT_clone]
	mov esi, CLONE_ARGS_size
	mov eax, SYS_clone3
	syscall
	test rax, rax
	jz made
	mov rbx, rax
	mov edi, SIG_SETMASK
	lea rsi, [rbp + CONTEXT_mask]
	xor edx, edx
	mov r10d, SIGSET_BYTES
	mov eax, SYS_rt_sigprocmask
	syscall
	mov rax, rbx
return:
	pop r13
	pop r12
	pop rbp
	pop rbx
	ret

made:
	mov r14, [rbp + CONTEXT_launcher]
	test r14, r14
	jz child

# A launcher. All signals are blocked, as they were around the clone. The state is 0 before who waits for the child is woken.
sleep:
	lea rdi, [r14 + LAUNCHER_state]
	mov esi, FUTEX_WAIT
	xor edx, edx
	xor r10d, r10d
	mov eax, SYS_futex
	syscall
	cmp dword ptr [r14 + LAUNCHER_state], 0
	je sleep
	mov rbp, [r14 + LAUNCHER_context]
	test rbp, rbp
	jz leave
	mov rbx, [rbp + CONTEXT_operations]
	mov rdi, [rbp + CONTEXT_clone]
	mov esi, CLONE_ARGS_size
	mov eax, SYS_clone3
	syscall
	test rax, rax
	jz child
	mov [rbp + CONTEXT_child], rax
	mov dword ptr [r14 + LAUNCHER_state], 0
	lea rdi, [rbp + CONTEXT_done]
	mov dword ptr [rdi], 1
	mov esi, FUTEX_WAKE
	mov edx, 1
	mov eax, SYS_futex
	syscall
	jmp sleep
leave:
	xor edi, edi
	mov eax, SYS_exit
	syscall
	ud2

# CLONE_CLEAR_SIGHAND has removed the handlers; what is ignored would stay so across execve. SIGKILL and SIGSTOP refuse.
child:
	mov r12d, 64
default:
	mov edi, r12d
	lea rsi, [rbp + CONTEXT_none]
	xor edx, edx
	mov r10d, SIGSET_BYTES
	mov eax, SYS_rt_sigaction
	syscall
	dec r12d
	jnz default
	mov edi, SIG_SETMASK
	lea rsi, [rbp + CONTEXT_none]
	xor edx, edx
	mov r10d, SIGSET_BYTES
	mov eax, SYS_rt_sigprocmask
	syscall

next:
	mov [rbp + CONTEXT_current], rbx
	cmp dword ptr [rbx + OPERATION_number], PSEUDO_end
	je end
	mov r12d, [rbx + OPERATION_flags]
	lea r13, [rbx + OPERATION_args]
	test r12d, FLAGS_anyIndirect
	jz call

# Follow the references into a second row of arguments; the program itself stays as it is and can be run again.
	xor ecx, ecx
resolve:
	mov rax, [r13 + rcx * 8]
	bt r12d, ecx
	jc wide
	lea edx, [rcx + 8]
	bt r12d, edx
	jnc value
	movsxd rax, dword ptr [rax]
	jmp value
wide:
	mov rax, [rax]
value:
	mov [rbp + rcx * 8 + CONTEXT_resolved], rax
	inc ecx
	cmp ecx, 6
	jb resolve
	lea r13, [rbp + CONTEXT_resolved]

call:
	mov rdi, [r13]
	mov rsi, [r13 + 8]
	mov rdx, [r13 + 16]
	mov r10, [r13 + 24]
	mov r8, [r13 + 32]
	mov r9, [r13 + 40]
	mov eax, [rbx + OPERATION_number]
	cmp eax, PSEUDO_move
	je move
	syscall
	cmp rax, -EINTR
	jne store
	test r12d, FLAGS_retry
	jnz call
	jmp store
move:
	mov rax, rdi

store:
	mov rcx, [rbx + OPERATION_store]
	test rcx, rcx
	jz branch
	mov [rcx], rax

branch:
	cmp rax, -MAX_ERRNO
	jae error
	test rax, rax
	jz zero
	movsxd rcx, dword ptr [rbx + OPERATION_onNonZero]
	add rbx, rcx
	jmp next
zero:
	movsxd rcx, dword ptr [rbx + OPERATION_onZero]
	add rbx, rcx
	jmp next
error:
	movsxd rcx, dword ptr [rbx + OPERATION_onError]
	add rbx, rcx
	test rcx, rcx
	jnz next
	mov [rbp + CONTEXT_error], rax

# A child has nowhere to return to: 0 after a program's end, 127 after a failure.
end:
	cmp qword ptr [rbp + CONTEXT_clone], 0
	je return
	xor edi, edi
	cmp [rbp + CONTEXT_error], rdi
	je exit
	mov edi, 127
exit:
	mov eax, SYS_exit_group
	syscall
	ud2
