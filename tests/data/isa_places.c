/* A library with the bytes 0f a2 in places of every kind: a CPUID that a constructor and an IFUNC's
   resolver ask, one inside another instruction, and one in code of which nothing tells where it begins. */
#include <cpuid.h>

static int avx512f(void) {
  unsigned a, b, c, d;
  __cpuid_count(7, 0, a, b, c, d);
  return b >> 16 & 1;
}

static int at_load = -1;
__attribute__((constructor)) static void ask(void) { at_load = avx512f(); }
int constructed(void) { return at_load; }

static int old_kernel(void) { return 0; }
static int new_kernel(void) { return 1; }
static int (*choose(void))(void) { return avx512f() ? new_kernel : old_kernel; }
int resolved(void) __attribute__((ifunc("choose")));

/* mov $0xa20f, %eax */
int inside(void) { return 0xa20f; }

void trap(void) { __builtin_trap(); }

/* without .cfi_startproc, on a page of its own */
__asm__(".text\n.p2align 12\n.globl undecided\n.type undecided, @function\nundecided:\n"
        " push %rbx\n mov $7, %eax\n xor %ecx, %ecx\n cpuid\n mov %ebx, %eax\n shr $16, %eax\n"
        " and $1, %eax\n pop %rbx\n ret\n.p2align 12\n");
