/* How long an x86-64 instruction is: prefixes, opcode maps, ModRM, SIB, displacement, immediates.

   After Intel's SDM, volume 2, chapter 2 and appendix A, and AMD's APM, volume 3, appendix A (XOP, SSE4a,
   3DNow!). What is undefined in 64-bit mode, what CPUs disagree on (a 16-bit branch), and what is too new
   (APX) has no length: 0. */

#ifndef X86_LENGTH_H
#define X86_LENGTH_H

typedef unsigned char u8;

enum { MODRM = 1, IMM8 = 2, IMM16 = 4, IMMZ = 8, BRANCH = 16, MOFFS = 32, NONE = 64, LONGEST = 15 };

/* Immz is 4 bytes, or 2 under the operand-size prefix; a branch's is always 4. */
static int one_byte_map(u8 op) {
  if (op < 0x40) {
    int low = op & 7;
    return low < 4 ? MODRM : low == 4 ? IMM8 : low == 5 ? IMMZ : 0;
  }
  if (op >= 0x50 && op < 0x60) return NONE;
  if (op >= 0x70 && op < 0x80) return IMM8;
  if (op >= 0x84 && op <= 0x8f) return MODRM;
  if (op >= 0x90 && op <= 0x9f) return op == 0x9a ? 0 : NONE;
  if (op >= 0xa0 && op <= 0xa3) return MOFFS;
  if (op >= 0xa4 && op <= 0xaf) return op == 0xa8 ? IMM8 : op == 0xa9 ? IMMZ : NONE;
  if (op >= 0xb0 && op <= 0xb7) return IMM8;
  if (op >= 0xb8 && op <= 0xbf) return IMMZ;
  if (op >= 0xd8 && op <= 0xdf) return MODRM;
  if (op >= 0xe0 && op <= 0xe7) return IMM8;
  switch (op) {
  case 0x63: case 0xd0: case 0xd1: case 0xd2: case 0xd3: case 0xf6: case 0xf7: case 0xfe: case 0xff:
    return MODRM;
  case 0x68: return IMMZ;
  case 0x69: case 0x81: case 0xc7: return MODRM | IMMZ;
  case 0x6a: case 0xcd: case 0xeb: return IMM8;
  case 0x6b: case 0x80: case 0x83: case 0xc0: case 0xc1: case 0xc6: return MODRM | IMM8;
  case 0xc2: case 0xca: return IMM16;
  case 0xc8: return IMM16 | IMM8;
  case 0xe8: case 0xe9: return BRANCH;
  case 0x6c: case 0x6d: case 0x6e: case 0x6f: case 0xc3: case 0xc9: case 0xcb: case 0xcc: case 0xcf:
  case 0xd7: case 0xec: case 0xed: case 0xee: case 0xef: case 0xf1: case 0xf4: case 0xf5: case 0xf8:
  case 0xf9: case 0xfa: case 0xfb: case 0xfc: case 0xfd:
    return NONE;
  }
  return 0;
}

/* Behind 0f; the opcodes with ModRM, and 77, are so in map 1 of VEX and EVEX too. */
static int two_byte_map(u8 op) {
  if (op >= 0x80 && op <= 0x8f) return BRANCH;
  if ((op >= 0x70 && op <= 0x73) || (op >= 0xc4 && op <= 0xc6)) return MODRM | IMM8;
  if (op >= 0xc8 && op <= 0xcf) return NONE;
  if (op >= 0x30 && op <= 0x37) return op == 0x36 ? 0 : NONE;
  if ((op >= 0x24 && op <= 0x27) || (op >= 0x38 && op <= 0x3f)) return 0;
  switch (op) {
  case 0x04: case 0x0a: case 0x0c: case 0x7a: case 0x7b: return 0;
  case 0x05: case 0x06: case 0x07: case 0x08: case 0x09: case 0x0b: case 0x0e: case 0x77: case 0xa0:
  case 0xa1: case 0xa2: case 0xa8: case 0xa9: case 0xaa:
    return NONE;
  case 0x0f: case 0xa4: case 0xac: case 0xba: case 0xc2: return MODRM | IMM8;
  }
  return MODRM;
}

/* Of ModRM with what it calls for; 0 where `end` comes first. */
static int modrm_length(const u8 *at, const u8 *end) {
  if (at >= end) return 0;
  int mod = at[0] >> 6, rm = at[0] & 7, length = 1;
  if (mod == 3) return 1;
  if (rm == 4) {
    if (at + 1 >= end) return 0;
    length = 2;
    if (mod == 0 && (at[1] & 7) == 5) return 6;
  }
  if (mod == 0) return rm == 5 ? 5 : length;
  return length + (mod == 1 ? 1 : 4);
}

/* The bytes of the instruction at `at`, which does not reach beyond `end`; 0 where it is not known. */
static int instruction_length(const u8 *at, const u8 *end) {
  const u8 *next = at;
  int narrow = 0, short_address = 0, repeat = 0, lock = 0, rex = 0, shape, immediate = 0;
  for (; next < end; next++) {
    u8 c = *next;
    if (c == 0x66) narrow = 1;
    else if (c == 0x67) short_address = 1;
    else if (c == 0xf2 || c == 0xf3) repeat = c;
    else if (c == 0xf0) lock = 1;
    else if (c != 0x2e && c != 0x36 && c != 0x3e && c != 0x26 && c != 0x64 && c != 0x65) break;
  }
  if (next < end && (*next & 0xf0) == 0x40) rex = *next++;
  if (next >= end) return 0;
  u8 op = *next++;
  int vector = op == 0xc4 || op == 0xc5 || op == 0x62, xop = op == 0x8f;
  if (xop && next < end) xop = (*next & 0x1f) >= 8;
  if (vector || xop) {
    int payload = op == 0xc5 ? 1 : op == 0x62 ? 3 : 2;
    if (narrow || repeat || lock || rex || end - next <= payload) return 0;
    int map = op == 0xc5 ? 1 : op == 0x62 ? next[0] & 7 : next[0] & 0x1f;
    if (op == 0x62 && ((next[0] & 8) || !(next[1] & 4))) return 0;
    next += payload;
    u8 code = *next++;
    if (xop) {
      if (map < 8 || map > 10) return 0;
      shape = MODRM, immediate = map == 8 ? 1 : map == 10 ? 4 : 0;
    } else if (map == 1) {
      shape = two_byte_map(code);
      if (op == 0x62 && (code == 0x7a || code == 0x7b)) shape = MODRM;
      if (!(shape & MODRM) && (code != 0x77 || op == 0x62)) return 0;
    } else if (map == 2 || map == 3 || (op == 0x62 && (map == 5 || map == 6))) {
      shape = map == 3 ? MODRM | IMM8 : MODRM;
    } else {
      return 0;
    }
  } else if (op == 0x0f) {
    if (next >= end) return 0;
    op = *next++;
    if (op == 0x38 || op == 0x3a) {
      if (next >= end) return 0;
      next++;
      shape = op == 0x38 ? MODRM : MODRM | IMM8;
    } else {
      shape = two_byte_map(op);
      /* SSE4a's EXTRQ and INSERTQ with two immediates */
      if (op == 0x78 && (narrow || repeat == 0xf2)) immediate = 2;
    }
  } else {
    shape = one_byte_map(op);
    int reg = next < end ? *next >> 3 & 7 : 0;
    if (op == 0xf6 && reg < 2) shape |= IMM8;
    if (op == 0xf7 && reg < 2) shape |= IMMZ;
    if (op >= 0xb8 && op <= 0xbf && (rex & 8)) shape = NONE, immediate = 8;
    if (op == 0x8f && reg != 0) return 0;
    if ((op == 0xc6 || op == 0xc7) && reg != 0 && !(next < end && *next == 0xf8)) return 0;
  }
  if (!shape) return 0;
  if ((shape & BRANCH) && narrow && !(rex & 8)) return 0;
  if (shape & MODRM) {
    int length = modrm_length(next, end);
    if (!length) return 0;
    next += length;
  }
  if (shape & IMM8) immediate += 1;
  if (shape & IMM16) immediate += 2;
  if (shape & IMMZ) immediate += narrow && !(rex & 8) ? 2 : 4;
  if (shape & BRANCH) immediate += 4;
  if (shape & MOFFS) immediate += short_address ? 4 : 8;
  if (end - next < immediate) return 0;
  next += immediate;
  return next - at <= LONGEST ? (int)(next - at) : 0;
}

#endif
