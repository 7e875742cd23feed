/* Prints what CPUID tells of AVX2, AVX-512F and VNNI, as a bit each, in the process, in a thread,
   in a fork, and in what it executes; then whether a vector register survived the faults. With the
   argument `crash` it writes to address 0. */
#include <cpuid.h>
#include <immintrin.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static int bits(void) {
  unsigned a, b, c, d;
  __cpuid_count(7, 0, a, b, c, d);
  return (b >> 5 & 1) | (b >> 16 & 1) << 1 | (c >> 11 & 1) << 2;
}

static void *in_thread(void *result) {
  *(int *)result = bits();
  return 0;
}

int main(int argc, char **argv) {
  if (argc > 1 && !strcmp(argv[1], "crash")) *(volatile int *)0 = 1;
  if (argc > 1 && !strcmp(argv[1], "bits")) return bits();
  int thread = -1, status;
  pthread_t id;
  pthread_create(&id, 0, in_thread, &thread);
  pthread_join(id, 0);
  if (fork() == 0) _exit(bits());
  wait(&status);
  int forked = WEXITSTATUS(status);
  if (fork() == 0) execl(argv[0], argv[0], "bits", (char *)0);
  wait(&status);
  volatile double kept = argc * 1.5;
  __m128d before = _mm_set_pd(kept, -kept), after = before;
  for (int i = 0; i < 100; i++) {
    bits();
    after = _mm_add_pd(after, before);
  }
  double sum[2];
  _mm_storeu_pd(sum, after);
  printf("%d %d %d %d %g %g\n", bits(), thread, forked, WEXITSTATUS(status), sum[0], sum[1]);
  return 0;
}
