# The init stub, x86-64: the text of a program without libraries, which begins here. The interpreter (x64.s) lies behind it.
#
# It reads a message from its control descriptor: how long a program is and how much of it to send back, then the program,
# to a fixed address. It runs the program, sends back the first part of its memory, and reads the next. A program that
# executes something ends all of this; so does the end of the control descriptor, which means that the other side is gone.
#
# rbx: its memory. r14: how many bytes are still to be read or written. rsi: where.

	.intel_syntax noprefix
	.set SYS_read, 0
	.set SYS_write, 1
	.set SYS_exit_group, 231
	.set EINTR, 4

	mov ebx, offset INIT_memory
next:
	mov esi, ebx
	mov r14d, INIT_head
	call receive
	mov r14d, [rbx + INIT_length]
	lea esi, [rbx + INIT_base]
	call receive
	lea edi, [rbx + INIT_base]
	call interpreter
	mov r14d, [rbx + INIT_reply]
	lea esi, [rbx + INIT_base]
send:
	mov edi, INIT_control
	mov edx, r14d
	mov eax, SYS_write
	syscall
	cmp rax, -EINTR
	je send
	test rax, rax
	jle gone
	add rsi, rax
	sub r14, rax
	jnz send
	jmp next

receive:
	mov edi, INIT_control
	mov edx, r14d
	xor eax, eax
	syscall
	cmp rax, -EINTR
	je receive
	test rax, rax
	jle gone
	add rsi, rax
	sub r14, rax
	jnz receive
	ret

gone:
	xor edi, edi
	mov eax, SYS_exit_group
	syscall
	ud2
interpreter:
