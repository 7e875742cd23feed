/* Caps the CPU features that one process sees: it answers the process's CPUID instructions.

   The handler of the trap executes the real instruction, clears the bits that it was told to, and goes on
   behind it. Threads and forks inherit that; exec ends it, and there it begins anew. Everything else of
   the process runs at full speed. There are two ways to make CPUID trap:

   faulting: arch_prctl(ARCH_SET_CPUID, 0) makes the instruction fault (Linux on x86-64, `cpuid_fault` in
   /proc/cpuinfo). The object is preloaded (LD_PRELOAD), and its constructor sets that.
   rewriting, where the CPU cannot: the object is also an audit object (LD_AUDIT), and makes `ud2` of every
   CPUID as the loader brings it (rewriting.h). Loaded twice, it has two copies: the audit object's rewrites
   and answers; the preloaded one finds its own CPUID rewritten, and so knows.

   What to clear comes from the environment, ORCHESTRATE_CPUID_CLEAR: entries
   `leaf.subleaf=eax,ebx,ecx,edx;` in hexadecimal; subleaf ffffffff is any. ORCHESTRATE_CPUID_WAY=rewriting
   has it rewrite where it could fault.

   The proof goes to stderr, a line when the process starts and one when it ends:
   `@orchestrate-cpuid begin cap=<code> by=<way> <entries as above, with what CPUID now answers>`, code 0
   where CPUID traps, else an error number. It is read through the trapping instruction, as the program's
   own libraries read it. By rewriting, ` lost=<n> <objects>` follows: what there was no room for, and for
   every object `name=sites,answered,held,ran,refused;`, with how many of its instructions were rewritten,
   how often they were answered, how many places are held as undecided, on how many of their pages
   something ran, and the error where it could not be done.
   A process whose parent is of its own session is a helper of the measured one: capped, and silent.

   No header of others, no C library: the object is built on one machine and loaded on others, under
   whatever C library they have, before the constructors of any other. */

typedef unsigned int u32;
typedef unsigned long u64;

enum { SYS_READ = 0, SYS_WRITE = 1, SYS_OPEN = 2, SYS_CLOSE = 3, SYS_MPROTECT = 10, SYS_SIGACTION = 13,
       SYS_PREAD = 17, SYS_MADVISE = 28, SYS_GETPID = 39, SYS_FCNTL = 72, SYS_READLINK = 89,
       SYS_GETPPID = 110, SYS_GETSID = 124, SYS_PERSONALITY = 135, SYS_ARCH_PRCTL = 158 };
enum { ASK_REPORT = 0x4f524348 }; /* a leaf that no CPU has */
enum { ARCH_GET_CPUID = 0x1011, ARCH_SET_CPUID = 0x1012 };
enum { SIGILL = 4, SIGSEGV = 11, SI_KERNEL = 0x80, FETCHING = 16, F_DUPFD_CLOEXEC = 1030 };
enum { MAX_RULES = 8, ENVIRON_VALUE = 1024 };
enum { SA_SIGINFO = 4, SA_RESTORER = 0x04000000, SA_ONSTACK = 0x08000000 };
#define ANY 0xffffffffu

/* The kernel's layouts, which cannot change: of struct sigaction, siginfo, and ucontext. */
struct action { void *handler; u64 flags; void *restorer; u64 mask; };
struct info { int signo, error, code; u64 address; };
struct context {
  u64 flags, link, stack[3];
  u64 r8, r9, r10, r11, r12, r13, r14, r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip,
      rflags, segments, error;
};

struct rule { u32 leaf, subleaf, clear[4]; };

static struct rule rules[MAX_RULES];
static int rule_count;
static struct action before, before_illegal;
static int out = -1;
static long prover;
extern int __libc_start_main(void) __attribute__((weak));

static long call(long number, long a, long b, long c, long d) {
  long result;
  register long r10 __asm__("r10") = d;
  __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10)
                   : "rcx", "r11", "memory");
  return result;
}

#include "rewriting.h"

/* The only CPUID of the object, at `cap_site`. */
__asm__(".text\n.hidden cap_site, cap_cpuid\n.type cap_cpuid, @function\n"
        "cap_cpuid:\n .cfi_startproc\n mov %rbx, %r8\n .cfi_register %rbx, %r8\n mov %edi, %eax\n"
        " mov %esi, %ecx\n mov %rdx, %r9\n"
        "cap_site: cpuid\n"
        " mov %eax, (%r9)\n mov %ebx, 4(%r9)\n mov %ecx, 8(%r9)\n mov %edx, 12(%r9)\n"
        " mov %r8, %rbx\n ret\n .cfi_endproc\n.size cap_cpuid, . - cap_cpuid\n");
extern void cap_cpuid(u32 leaf, u32 subleaf, u32 answer[4]) __attribute__((visibility("hidden")));
extern const u8 cap_site[] __attribute__((visibility("hidden")));

__asm__(".text\n.hidden cap_return\ncap_return: mov $15, %eax\n syscall\n");
extern void cap_return(void) __attribute__((visibility("hidden")));

static const struct report *told; /* the audit object's, where that rewrites */

static void restore(int signal, const struct action *action) {
  call(SYS_SIGACTION, signal, (long)action, 0, 8);
}

static void clear(u32 leaf, u32 subleaf, u32 answer[4]) {
  for (int i = 0; i < rule_count; i++)
    if (rules[i].leaf == leaf && (rules[i].subleaf == ANY || rules[i].subleaf == subleaf))
      for (int r = 0; r < 4; r++) answer[r] &= ~rules[i].clear[r];
}

static void give(struct context *at, const u32 answer[4]) {
  at->rax = answer[0], at->rbx = answer[1], at->rcx = answer[2], at->rdx = answer[3];
  at->rip += 2;
}

/* On the general registers alone, as all handlers here: the signal may come in the middle of vector
   code. */
static void on_fault(int number, struct info *info, struct context *at) {
  const unsigned char *code = (const unsigned char *)at->rip;
  (void)number;
  /* a general protection fault comes from the kernel without an address; only then is the code
     behind rip known to be there to be read */
  if (info->code != SI_KERNEL || code[0] != 0x0f || code[1] != 0xa2) {
    /* a true fault: it happens again, and meets what was there before us */
    restore(SIGSEGV, &before);
    return;
  }
  u32 leaf = (u32)at->rax, subleaf = (u32)at->rcx, answer[4];
  call(SYS_ARCH_PRCTL, ARCH_SET_CPUID, 1, 0, 0);
  cap_cpuid(leaf, subleaf, answer);
  call(SYS_ARCH_PRCTL, ARCH_SET_CPUID, 0, 0, 0);
  clear(leaf, subleaf, answer);
  give(at, answer);
}

/* Of the audit object: a CPUID that was rewritten, or a true `ud2`. */
static void on_illegal(int number, struct info *info, struct context *at) {
  struct site *site = find(sites, &site_count, at->rip);
  (void)number, (void)info;
  if (!site) {
    restore(SIGILL, &before_illegal);
    return;
  }
  u32 leaf = (u32)at->rax, subleaf = (u32)at->rcx, answer[4];
  if (leaf == ASK_REPORT) {
    answer[0] = (u32)(u64)&report, answer[1] = (u32)((u64)&report >> 32), answer[2] = answer[3] = 0;
  } else {
    __atomic_fetch_add(&site->in->answered, 1, __ATOMIC_RELAXED);
    cap_cpuid(leaf, subleaf, answer);
    clear(leaf, subleaf, answer);
  }
  give(at, answer);
}

/* Of the audit object: something runs on a page with an undecided place. Let it, and tell. */
static void on_held(int number, struct info *info, struct context *at) {
  struct site *page = find(held, &held_count, info->address & ~(u64)(PAGE - 1));
  (void)number;
  if (info->code == SI_KERNEL || !(at->error & FETCHING) || !page ||
      call(SYS_MPROTECT, (long)page->at, PAGE, PROT_READ | PROT_EXEC, 0)) {
    restore(SIGSEGV, &before);
    return;
  }
  __atomic_fetch_add(&page->in->ran, 1, __ATOMIC_RELAXED);
}

/* The value of a variable, whose name ends in `=`, in this process's environment, 0-terminated; 0 where
   it is not there or is too long. From /proc, since a constructor is handed it by some C libraries
   only. */
static int read_setting(const char *name, char value[ENVIRON_VALUE]) {
  char piece[512];
  int matched = 0, length = -1; /* matched: characters of it; -1: another variable */
  long file = call(SYS_OPEN, (long)"/proc/self/environ", 0, 0, 0), got;
  if (file < 0) return 0;
  while ((got = call(SYS_READ, file, (long)piece, sizeof piece, 0)) > 0)
    for (long i = 0; i < got; i++) {
      char c = piece[i];
      if (length >= 0) {
        if (length == ENVIRON_VALUE) return call(SYS_CLOSE, file, 0, 0, 0), 0;
        value[length++] = c;
        if (!c) return call(SYS_CLOSE, file, 0, 0, 0), 1;
      } else if (!c) {
        matched = 0;
      } else if (matched >= 0) {
        matched = c == name[matched] ? matched + 1 : -1;
        if (matched > 0 && !name[matched]) length = 0;
      }
    }
  call(SYS_CLOSE, file, 0, 0, 0);
  return 0;
}

static u32 hexadecimal(const char **text) {
  u32 value = 0;
  for (;; (*text)++) {
    char c = **text;
    int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
    if (digit < 0) return value;
    value = value << 4 | (u32)digit;
  }
}

/* `leaf.subleaf=eax,ebx,ecx,edx;` any number of times; 0 on anything else. */
static int parse(const char *text) {
  while (*text) {
    if (rule_count == MAX_RULES) return 0;
    struct rule *rule = &rules[rule_count++];
    rule->leaf = hexadecimal(&text);
    if (*text++ != '.') return 0;
    rule->subleaf = hexadecimal(&text);
    if (*text++ != '=') return 0;
    for (int r = 0; r < 4; r++) {
      rule->clear[r] = hexadecimal(&text);
      if (*text++ != (r < 3 ? ',' : ';')) return 0;
    }
  }
  return rule_count > 0;
}

static char *put(char *to, const char *text) {
  while (*text) *to++ = *text++;
  return to;
}

static char *put_hex(char *to, u32 value, char then) {
  for (int shift = 28; shift >= 0; shift -= 4) *to++ = "0123456789abcdef"[value >> shift & 15];
  *to++ = then;
  return to;
}

/* Every object but this one. */
static char *put_objects(char *to) {
  for (u32 i = 0; i < told->objects; i++) {
    const struct seen *seen = &told->object[i];
    if ((u64)cap_site >= seen->low && (u64)cap_site < seen->high) continue;
    to = put(put(to, seen->name), "=");
    u32 counts[] = {seen->sites, seen->answered, seen->held, seen->ran, seen->refused};
    for (int c = 0; c < 5; c++) to = put_hex(to, counts[c], c < 4 ? ',' : ';');
  }
  return to;
}

/* One write, so that nobody's line runs into it. */
static void prove(const char *when, int rewriting, long refused) {
  static char line[128 + MAX_RULES * 64 + MAX_OBJECTS * (NAME_LENGTH + 5 * 9 + 1)];
  char *to = put(put(line, "@orchestrate-cpuid "), when);
  /* what arch_prctl says: 0 faulting, 1 not, or its error */
  long state = refused || rewriting ? refused : call(SYS_ARCH_PRCTL, ARCH_GET_CPUID, 0, 0, 0);
  to = put_hex(put(to, " cap="), (u32)(state < 0 ? -state : state), ' ');
  to = put(to, rewriting ? "by=rewriting " : "by=faulting ");
  for (int i = 0; i < rule_count; i++) {
    u32 answer[4];
    cap_cpuid(rules[i].leaf, rules[i].subleaf == ANY ? 0 : rules[i].subleaf, answer);
    to = put_hex(to, rules[i].leaf, '.');
    to = put_hex(to, rules[i].subleaf, '=');
    for (int r = 0; r < 4; r++) to = put_hex(to, answer[r], r < 3 ? ',' : ';');
  }
  if (told) to = put_objects(put_hex(put(to, " lost="), told->lost, ' '));
  *to++ = '\n';
  call(SYS_WRITE, out, (long)line, to - line, 0);
}

static int is_helper(void) {
  long parent = call(SYS_GETPPID, 0, 0, 0, 0);
  return parent > 0 && call(SYS_GETSID, parent, 0, 0, 0) == call(SYS_GETSID, 0, 0, 0, 0);
}

static struct action handled_by(void (*handler)(int, struct info *, struct context *)) {
  struct action action = {(void *)handler, SA_SIGINFO | SA_RESTORER | SA_ONSTACK, (void *)cap_return, 0};
  return action;
}

static long make_cpuid_fault(void) {
  struct action ours = handled_by(on_fault);
  long refused = call(SYS_SIGACTION, SIGSEGV, (long)&ours, (long)&before, 8);
  return refused ? refused : call(SYS_ARCH_PRCTL, ARCH_SET_CPUID, 0, 0, 0);
}

/* Of the preloaded object; an audit object is alone in its namespace, without a C library. */
__attribute__((constructor)) static void begin(void) {
  char setting[ENVIRON_VALUE];
  if (!__libc_start_main || !read_setting("ORCHESTRATE_CPUID_CLEAR=", setting)) return;
  long refused = parse(setting) ? 0 : -22;
  if (*(const volatile u8 *)(cap_site + 1) == 0x0b) {
    u32 answer[4];
    cap_cpuid(ASK_REPORT, 0, answer);
    told = (const struct report *)((u64)answer[1] << 32 | answer[0]);
  } else if (!refused) {
    refused = make_cpuid_fault();
  }
  if (is_helper()) return;
  /* a copy: the program may point stderr elsewhere before it ends */
  out = (int)call(SYS_FCNTL, 2, F_DUPFD_CLOEXEC, 100, 0);
  if (out < 0) out = 2;
  prover = call(SYS_GETPID, 0, 0, 0, 0);
  prove("begin", told != 0, refused);
}

/* Not of a fork: it has the object's memory, but another number. */
__attribute__((destructor)) static void end(void) {
  if (prover && prover == call(SYS_GETPID, 0, 0, 0, 0)) prove("end", told != 0, 0);
}

/* What a security policy says to changing code: 0, or the error. */
static long try_to_rewrite(void) {
  long refused = protect((u64)cap_site, PROT_READ | PROT_WRITE | PROT_EXEC);
  return refused ? refused : protect((u64)cap_site, PROT_READ | PROT_EXEC);
}

/* The audit interface. Nothing is rewritten, and the audit object let go, where CPUID can fault. */
u32 la_version(u32 newest) {
  char setting[ENVIRON_VALUE];
  struct action illegal = handled_by(on_illegal), fault = handled_by(on_held);
  if (!newest || !read_setting("ORCHESTRATE_CPUID_CLEAR=", setting) || !parse(setting)) return 0;
  int asked = read_setting("ORCHESTRATE_CPUID_WAY=", setting) && setting[0] == 'r';
  if (!asked && !call(SYS_ARCH_PRCTL, ARCH_SET_CPUID, 1, 0, 0)) return 0;
  long refused = try_to_rewrite();
  if (!refused) refused = call(SYS_SIGACTION, SIGILL, (long)&illegal, (long)&before_illegal, 8);
  if (!refused) refused = call(SYS_SIGACTION, SIGSEGV, (long)&fault, (long)&before, 8);
  if (refused) {
    out = 2;
    if (!is_helper()) prove("begin", 1, refused);
    return 0;
  }
  return 1; /* the interface that every version of the loader knows */
}

u32 la_objopen(struct link *object, long space, u64 *cookie) {
  (void)space, (void)cookie;
  rewrite(object);
  return 0; /* no symbol's binding is of interest */
}
