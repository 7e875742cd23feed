/* Caps the CPU features that one process sees: preloaded, it answers the process's CPUID.

   arch_prctl(ARCH_SET_CPUID, 0) makes the CPUID instruction fault (Linux on x86-64, `cpuid_fault` in
   /proc/cpuinfo). The handler executes the real instruction, clears the bits that it was told to, and
   goes on behind it. Threads and forks inherit the setting; exec ends it, and there the preload begins
   anew. Everything else of the process runs at full speed.

   What to clear comes from the environment, ORCHESTRATE_CPUID_CLEAR: entries
   `leaf.subleaf=eax,ebx,ecx,edx;` in hexadecimal; subleaf ffffffff is any.

   The proof goes to stderr, a line when the process starts and one when it ends:
   `@orchestrate-cpuid begin cap=<code> <entries as above, with what CPUID now answers>`, code 0 where
   CPUID faults. It is read through the faulting instruction, as the program's own libraries read it.
   A process whose parent is of its own session is a helper of the measured one: capped, and silent.

   No header, no C library: the object is built on one machine and preloaded on others, under whatever
   C library they have, before the constructors of any other. */

typedef unsigned int u32;
typedef unsigned long u64;

enum { SYS_READ = 0, SYS_WRITE = 1, SYS_OPEN = 2, SYS_CLOSE = 3, SYS_SIGACTION = 13, SYS_GETPID = 39,
       SYS_FCNTL = 72, SYS_GETPPID = 110, SYS_GETSID = 124, SYS_ARCH_PRCTL = 158 };
enum { ARCH_GET_CPUID = 0x1011, ARCH_SET_CPUID = 0x1012 };
enum { SIGSEGV = 11, SI_KERNEL = 0x80, F_DUPFD_CLOEXEC = 1030, MAX_RULES = 8, ENVIRON_VALUE = 1024 };
enum { SA_SIGINFO = 4, SA_RESTORER = 0x04000000, SA_ONSTACK = 0x08000000 };
#define ANY 0xffffffffu

/* The kernel's layouts, which cannot change: of struct sigaction, siginfo, and ucontext. */
struct action { void *handler; u64 flags; void *restorer; u64 mask; };
struct info { int signo, error, code; };
struct context {
  u64 flags, link, stack[3];
  u64 r8, r9, r10, r11, r12, r13, r14, r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip;
};

struct rule { u32 leaf, subleaf, clear[4]; };

static const char NAME[] = "ORCHESTRATE_CPUID_CLEAR=";
static struct rule rules[MAX_RULES];
static int rule_count;
static struct action before;
static int out = -1;
static long prover;

static long call(long number, long a, long b, long c, long d) {
  long result;
  register long r10 __asm__("r10") = d;
  __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10)
                   : "rcx", "r11", "memory");
  return result;
}

static void cpuid(u32 leaf, u32 subleaf, u32 answer[4]) {
  __asm__ volatile("cpuid" : "=a"(answer[0]), "=b"(answer[1]), "=c"(answer[2]), "=d"(answer[3])
                   : "a"(leaf), "c"(subleaf));
}

__asm__(".text\n.hidden cap_return\ncap_return: mov $15, %eax\n syscall\n");
extern void cap_return(void) __attribute__((visibility("hidden")));

/* On the general registers alone: the signal may come in the middle of vector code. */
static void on_fault(int number, struct info *info, struct context *at) {
  const unsigned char *code = (const unsigned char *)at->rip;
  (void)number;
  /* a general protection fault comes from the kernel without an address; only then is the code
     behind rip known to be there to be read */
  if (info->code != SI_KERNEL || code[0] != 0x0f || code[1] != 0xa2) {
    /* a true fault: it happens again, and meets what was there before us */
    call(SYS_SIGACTION, SIGSEGV, (long)&before, 0, 8);
    return;
  }
  u32 leaf = (u32)at->rax, subleaf = (u32)at->rcx, answer[4];
  call(SYS_ARCH_PRCTL, ARCH_SET_CPUID, 1, 0, 0);
  cpuid(leaf, subleaf, answer);
  call(SYS_ARCH_PRCTL, ARCH_SET_CPUID, 0, 0, 0);
  for (int i = 0; i < rule_count; i++)
    if (rules[i].leaf == leaf && (rules[i].subleaf == ANY || rules[i].subleaf == subleaf))
      for (int r = 0; r < 4; r++) answer[r] &= ~rules[i].clear[r];
  at->rax = answer[0], at->rbx = answer[1], at->rcx = answer[2], at->rdx = answer[3];
  at->rip += 2;
}

/* The value of NAME in this process's environment, 0-terminated; 0 where it is not there or is too
   long. From /proc, since a constructor is handed it by some C libraries only. */
static int read_setting(char value[ENVIRON_VALUE]) {
  char piece[512];
  int matched = 0, length = -1; /* matched: characters of NAME; -1: another variable */
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
        matched = c == NAME[matched] ? matched + 1 : -1;
        if (matched > 0 && !NAME[matched]) length = 0;
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

/* One write, so that nobody's line runs into it. */
static void prove(const char *when, long refused) {
  char line[64 + MAX_RULES * 64], *to = put(put(line, "@orchestrate-cpuid "), when);
  /* what arch_prctl says: 0 faulting, 1 not, or its error */
  long state = refused ? refused : call(SYS_ARCH_PRCTL, ARCH_GET_CPUID, 0, 0, 0);
  to = put_hex(put(to, " cap="), (u32)(state < 0 ? -state : state), ' ');
  for (int i = 0; i < rule_count; i++) {
    u32 answer[4];
    cpuid(rules[i].leaf, rules[i].subleaf == ANY ? 0 : rules[i].subleaf, answer);
    to = put_hex(to, rules[i].leaf, '.');
    to = put_hex(to, rules[i].subleaf, '=');
    for (int r = 0; r < 4; r++) to = put_hex(to, answer[r], r < 3 ? ',' : ';');
  }
  *to++ = '\n';
  call(SYS_WRITE, out, (long)line, to - line, 0);
}

static int is_helper(void) {
  long parent = call(SYS_GETPPID, 0, 0, 0, 0);
  return parent > 0 && call(SYS_GETSID, parent, 0, 0, 0) == call(SYS_GETSID, 0, 0, 0, 0);
}

__attribute__((constructor)) static void begin(void) {
  char setting[ENVIRON_VALUE];
  struct action ours = {(void *)on_fault, SA_SIGINFO | SA_RESTORER | SA_ONSTACK, (void *)cap_return, 0};
  if (!read_setting(setting)) return;
  long refused = parse(setting) ? call(SYS_SIGACTION, SIGSEGV, (long)&ours, (long)&before, 8) : -22;
  if (!refused) refused = call(SYS_ARCH_PRCTL, ARCH_SET_CPUID, 0, 0, 0);
  if (is_helper()) return;
  /* a copy: the program may point stderr elsewhere before it ends */
  out = (int)call(SYS_FCNTL, 2, F_DUPFD_CLOEXEC, 100, 0);
  if (out < 0) out = 2;
  prover = call(SYS_GETPID, 0, 0, 0, 0);
  prove("begin", refused);
}

/* Not of a fork: it has the object's memory, but another number. */
__attribute__((destructor)) static void end(void) {
  if (prover && prover == call(SYS_GETPID, 0, 0, 0, 0)) prove("end", 0);
}
