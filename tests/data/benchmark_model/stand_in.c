/* Speaks like the official benchmark_model (the format is that of recorded/t1_fp32.out) without
   running a model: the size of the file is real, the times are invented. It lets the tests take the
   binary's whole way, ELF check, push, start, parser, where the official one cannot be had.
   Built for one machine by the test that uses it. The chaos test has it keep a diary of its runs
   (-DDIARY="path") and take its time (-DTAKES_US=200000). It asks CPUID, as the official one does
   to choose its kernels. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#ifdef __x86_64__
#include <cpuid.h>
#endif

#ifdef DIARY
static void note(const char *what) {
  char line[1024];
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  int length = snprintf(line, sizeof line, "%s %ld.%09ld %s\n", what, (long)now.tv_sec,
                        now.tv_nsec, getenv("ORCHESTRATE_TRIAL"));
  int fd = open(DIARY, O_WRONLY | O_CREAT | O_APPEND, 0600);
  if (fd < 0 || write(fd, line, length) != length) abort();
  close(fd);
}
#else
#define note(what)
#endif

static double max_rss_mib(void) {
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss / 1024.0;
}

/* The official one's flags (recorded/err_badvalue_bool.err) that it takes without a word here. */
static const char *const TAKEN[] = {
    "--signature_to_run_for", "--min_secs", "--max_secs", "--warmup_min_secs", "--enable_op_profiling"};

static int taken(const char *flag) {
  for (unsigned i = 0; i < sizeof TAKEN / sizeof *TAKEN; i++)
    if (!strcmp(flag, TAKEN[i])) return 1;
  return 0;
}

static int count(const char *text, char separator) {
  int found = *text != 0;
  for (; *text; text++) found += *text == separator;
  return found;
}

static int among(const char *name, size_t length, const char *names) {
  for (; *names; names += *names == ',') {
    size_t here = strcspn(names, ",");
    if (here == length && !strncmp(name, names, length)) return 1;
    names += here;
  }
  return 0;
}

/* What the official one ends with an error for: a shape for each name, bounds of whole numbers
   for names that are there. */
static const char *wrong_inputs(const char *names, const char *shapes, const char *ranges) {
  if (count(names, ',') != count(shapes, ':')) return "The number of items must match";
  if (strchr(shapes, '-')) return "Any unknown sizes in the shapes (-1's) must be replaced";
  for (; *ranges; ranges += *ranges == ':') {
    size_t length = strcspn(ranges, ":"), name = strcspn(ranges, ",");
    char rest[64] = "", after;
    int low, high;
    if (name >= length || length - name >= sizeof rest) return "Wrong input value range item";
    memcpy(rest, ranges + name + 1, length - name - 1);
    if (sscanf(rest, "%d,%d%c", &low, &high, &after) != 2 || low > high)
      return "Wrong low and high value of the input value range specified";
    if (!among(ranges, name, names)) return "Cannot find the corresponding input_layer name";
    ranges += length;
  }
  return NULL;
}

int main(int argc, char **argv) {
  const char *graph = "", *threads = "1", *names = "", *shapes = "", *ranges = "", *wrong;
  int runs = 50, warmup_runs = 1, xnnpack = 1, peak = 0;
  double at_start = max_rss_mib();
#ifdef __x86_64__
  unsigned eax, ebx, ecx, edx;
  __get_cpuid(1, &eax, &ebx, &ecx, &edx);
#endif
  note("begin");
  puts("INFO: STARTING!");
  for (int i = 1; i < argc; i++) {
    printf("GIVEN %s\n", argv[i]);
    char *value = strchr(argv[i], '=');
    if (value == NULL) {
      printf("WARN: Unconsumed cmdline flags: %s\n", argv[i]);
      continue;
    }
    *value++ = 0;
    if (!strcmp(argv[i], "--graph")) graph = value;
    else if (!strcmp(argv[i], "--num_threads")) threads = value;
    else if (!strcmp(argv[i], "--num_runs")) runs = atoi(value);
    else if (!strcmp(argv[i], "--warmup_runs")) warmup_runs = atoi(value);
    else if (!strcmp(argv[i], "--use_xnnpack")) xnnpack = !strcmp(value, "true");
    else if (!strcmp(argv[i], "--report_peak_memory_footprint")) peak = !strcmp(value, "true");
    else if (!strcmp(argv[i], "--input_layer")) names = value;
    else if (!strcmp(argv[i], "--input_layer_shape")) shapes = value;
    else if (!strcmp(argv[i], "--input_layer_value_range")) ranges = value;
    else if (!taken(argv[i]))
      printf("WARN: Unconsumed cmdline flags: %s=%s\n", argv[i], value);
  }
  if ((wrong = wrong_inputs(names, shapes, ranges))) {
    fprintf(stderr, "ERROR: %s\nERROR: Benchmarking failed.\n", wrong);
    return 1;
  }
  struct stat file;
  if (stat(graph, &file)) {
    fprintf(stderr, "ERROR: Could not open '%s'.\nERROR: Benchmarking failed.\n", graph);
    return 1;
  }
  char *touched = malloc(32 << 20);
  memset(touched, 1, 32 << 20);
  printf("INFO: Num threads: [%s]\nINFO: Graph: [%s]\n", threads, graph);
  printf("INFO: #threads used for CPU inference: [%s]\n", threads);
  printf("INFO: Loaded model %s\n", graph);
  printf("INFO: The input model file size (MB): %g\n", file.st_size / 1e6);
  if (xnnpack) fprintf(stderr, "INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\n");
  puts("INFO: Initialized session in 15.784ms.");
  /* a file of half the size takes half the time, so that a comparison has something to find */
  long us = file.st_size / 1000;
  for (int phase = 0; phase < 2; phase++) {
    int count = phase ? runs : warmup_runs;
    printf("INFO: Running benchmark for at least %d iterations and at least 0 seconds but "
           "terminate if exceeding 150 seconds.\n", count);
    printf("INFO: count=%d first=%ld curr=%ld min=%ld max=%ld avg=%g std=%d p5=%ld median=%ld "
           "p95=%ld\n\n", count, us + 9, us, us, us + 9, us + 0.5, 3, us, us, us + 9);
  }
  printf("INFO: Inference timings in us: Init: 15784, First inference: %ld, Warmup (avg): %g, "
         "Inference (avg): %g\n", us + 9, us + 0.5, us + 0.5);
  double grown = max_rss_mib() - at_start;
  printf("INFO: Memory footprint delta from the start of the tool (MB): init=%g overall=%g\n",
         grown, grown);
  if (peak)
    printf("INFO: Overall peak memory footprint (MB) via periodic monitoring: %g\n", max_rss_mib());
#ifdef TAKES_US
  usleep(TAKES_US);
#endif
  note("end");
  return 0;
}
