# The keeper of one container or process: a whole program, headers and all, that is executed out of memory.
#
# An OCI runtime's command ends and leaves the container's first process an orphan, whose exit status goes to whoever the
# kernel makes its parent. The keeper is that parent: it starts the command that is its arguments, and reports on
# descriptor 3 every child that ends, as two 32-bit words: process id and wait status. The first report is the command's
# process id with a status of -1. It ends when it has no children left.
#
#   as -o keeper.o keeper_x64.s && objcopy -O binary -j .text keeper.o keeper

.set base, 0x400000
.text
start:
        # Elf64_Ehdr
        .byte   0x7f, 'E', 'L', 'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0
        .word   2                       # ET_EXEC
        .word   62                      # EM_X86_64
        .long   1
        .quad   base + entry - start
        .quad   program - start         # program headers
        .quad   0
        .long   0
        .word   64, 56, 1, 0, 0, 0
program:
        # Elf64_Phdr
        .long   1                       # PT_LOAD
        .long   5                       # readable, executable
        .quad   0
        .quad   base
        .quad   base
        .quad   end - start
        .quad   end - start
        .quad   0x1000
entry:
        mov     (%rsp), %rax            # argc
        lea     16(%rsp), %r12          # the command's argv
        lea     16(%rsp, %rax, 8), %r13 # the environment
        mov     $157, %eax              # prctl(PR_SET_CHILD_SUBREAPER, 1)
        mov     $36, %edi
        mov     $1, %esi
        syscall
        mov     $72, %eax               # fcntl(3, F_SETFD, FD_CLOEXEC)
        mov     $3, %edi
        mov     $2, %esi
        mov     $1, %edx
        syscall
        mov     $57, %eax               # fork()
        syscall
        test    %eax, %eax
        jz      command
        mov     %eax, %ebx
        # Only the command and what comes of it hold the streams.
        mov     $436, %eax              # close_range(0, 2, 0)
        xor     %edi, %edi
        mov     $2, %esi
        xor     %edx, %edx
        syscall
        sub     $16, %rsp
        movl    $-1, 4(%rsp)
report:
        mov     %ebx, (%rsp)
        mov     $1, %eax                # write(3, report, 8)
        mov     $3, %edi
        mov     %rsp, %rsi
        mov     $8, %edx
        syscall
wait:
        mov     $61, %eax               # wait4(-1, &status, 0, 0)
        mov     $-1, %rdi
        lea     4(%rsp), %rsi
        xor     %edx, %edx
        xor     %r10d, %r10d
        syscall
        mov     %eax, %ebx
        test    %eax, %eax
        jns     report
        cmp     $-4, %eax               # EINTR
        je      wait
        xor     %edi, %edi
        jmp     exit
command:
        mov     $59, %eax               # execve(argv[0], argv, environment)
        mov     (%r12), %rdi
        mov     %r12, %rsi
        mov     %r13, %rdx
        syscall
        mov     $127, %edi
exit:
        mov     $231, %eax              # exit_group
        syscall
end:
