/* Instructions in hexadecimal, a line each, to how long they are by our own decoder; 0: it cannot say. */
#include <stdio.h>

#include "x86_length.h"

int main(void) {
  char line[64];
  while (scanf("%63s", line) == 1) {
    u8 code[32];
    int length = 0;
    while (sscanf(line + 2 * length, "%2hhx", &code[length]) == 1) length++;
    printf("%d\n", instruction_length(code, code + length));
  }
  return 0;
}
