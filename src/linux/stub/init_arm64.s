# The init stub, AArch64: the text of a program without libraries, which begins here. The interpreter (arm64.s) lies behind
# it. It does what init_x64.s does, which tells more.
#
# x19: its memory. x20: how many bytes are still to be read or written. x1: where.

	.set SYS_read, 63
	.set SYS_write, 64
	.set SYS_exit_group, 94
	.set EINTR, 4

	mov x19, #INIT_memory
next:
	mov x1, x19
	mov x20, #INIT_head
	bl receive
	ldr w20, [x19, #INIT_length]
	add x1, x19, #INIT_base
	bl receive
	add x0, x19, #INIT_base
	bl interpreter
	ldr w20, [x19, #INIT_reply]
	add x1, x19, #INIT_base
send:
	mov x0, #INIT_control
	mov x2, x20
	mov x8, #SYS_write
	svc #0
	cmn x0, #EINTR
	b.eq send
	cmp x0, #0
	b.le gone
	add x1, x1, x0
	subs x20, x20, x0
	b.ne send
	b next

receive:
	mov x0, #INIT_control
	mov x2, x20
	mov x8, #SYS_read
	svc #0
	cmn x0, #EINTR
	b.eq receive
	cmp x0, #0
	b.le gone
	add x1, x1, x0
	subs x20, x20, x0
	b.ne receive
	ret

gone:
	mov x0, xzr
	mov x8, #SYS_exit_group
	svc #0
	brk #0
interpreter:
