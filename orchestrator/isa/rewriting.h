/* CPUID made to trap without the CPU's help: every CPUID instruction of an object becomes `ud2`, which
   is as long, before the object's first instruction runs.

   The dynamic loader tells an audit object (LD_AUDIT, rtld-audit(7)) of each object it has mapped, at
   startup and in dlopen, before it relocates it and runs its IFUNC resolvers and constructors.

   Which of the bytes 0f a2 are an instruction is never guessed. The unwind table (.eh_frame_hdr) says in
   which function they stand, in stripped objects too; that function is decoded from its start, and the
   decoding must end where the function does. Bytes that no function is known to hold, or one that cannot
   be decoded, are left, and their page loses its right to execute: as long as nothing runs there, no
   CPUID did. Where something runs, it runs, and the process is not proven. */

#ifndef REWRITING_H
#define REWRITING_H

#include "x86_length.h"

enum { PT_LOAD = 1, PT_DYNAMIC = 2, PT_EH_FRAME = 0x6474e550, PF_X = 1, PF_W = 2, PF_R = 4, AT_PHDR = 3,
       AT_PHNUM = 5, DT_PLTRELSZ = 2, DT_JMPREL = 23, RELOCATION = 24 };
enum { PROT_READ = 1, PROT_WRITE = 2, PROT_EXEC = 4, MADV_DONTNEED = 4, ENOEXEC = 8,
       READ_IMPLIES_EXEC = 0x400000, PAGE = 4096 };
enum { MAX_HEADERS = 64, MAX_OBJECTS = 256, MAX_SITES = 8192, MAX_HELD = 4096, NAME_LENGTH = 48 };
enum { CHUNK = 1 << 20 };

/* ELF's and the loader's layouts. */
struct elf { u8 ident[16]; unsigned short type, machine; u32 version; u64 entry, headers, sections;
             u32 flags; unsigned short size, header_size, header_count; };
struct header { u32 type, flags; u64 offset, address, physical, in_file, in_memory, align; };
struct link { u64 base; const char *name; u64 dynamic; };

/* What became of an object that holds such bytes; what is told of it at the end. */
struct seen { char name[NAME_LENGTH]; u64 low, high; u32 sites, answered, held, ran, refused; };
struct site { u64 at; struct seen *in; };

/* `lost`: what there was no room for. */
static struct report { u32 objects, lost; struct seen object[MAX_OBJECTS]; } report;
static struct site sites[MAX_SITES], held[MAX_HELD]; /* held: pages */
static u32 site_count, held_count;

/* The object that is being looked at: the loader has a lock around it. */
static struct header headers[MAX_HEADERS];
static int header_count;
static u64 base, dynamic;

/* Whether the object has these bytes of its file in memory. */
static int is_mapped(u64 from, u64 bytes) {
  for (int i = 0; i < header_count; i++) {
    u64 low = base + headers[i].address, length = headers[i].in_file;
    if (headers[i].type == PT_LOAD && (headers[i].flags & PF_R) && from >= low && bytes <= length &&
        from - low <= length - bytes)
      return 1;
  }
  return 0;
}

/* A value of the unwind table, whose bytes may stand at any address. */
static u64 value_at(u64 from, int bytes) {
  u64 value = 0;
  for (int i = 0; i < bytes; i++) value |= (u64)((const u8 *)from)[i] << 8 * i;
  return value;
}

static long offset_at(u64 from) { return (int)value_at(from, 4); }

/* The first byte behind a LEB128 number; 0 where it does not end. */
static u64 behind_leb128(u64 from) {
  while (is_mapped(from, 1))
    if (!(*(const u8 *)from++ & 0x80)) return from;
  return 0;
}

/* How a description entry's addresses are encoded (DW_EH_PE_*), by its common entry; -1: unknown. */
static int encoding_of(u64 entry) {
  u64 common = entry + 4 - (u64)offset_at(entry + 4), at = common + 9;
  if (!is_mapped(common, 20) || value_at(common + 4, 4) || ((const u8 *)common)[8] != 1) return -1;
  u64 letter = at;
  if (*(const u8 *)letter != 'z') return -1;
  while (is_mapped(at, 1) && *(const u8 *)at) at++;
  at = behind_leb128(at + 1);         /* code alignment */
  at = at ? behind_leb128(at) : 0;    /* data alignment */
  at = at ? behind_leb128(at + 1) : 0; /* return register; length of what follows */
  while (at && is_mapped(at, 9))
    switch (*(const u8 *)++letter) {
    case 'R': return *(const u8 *)at;
    case 'L': at++; break;
    case 'P': at += (*(const u8 *)at & 7) == 3 ? 5 : (*(const u8 *)at & 7) == 2 ? 3 : 9; break;
    case 'S': case 'B': break;
    default: return -1;
    }
  return -1;
}

/* The function that holds `at`; 0 where none is known to. */
static int find_function(u64 at, u64 *start, u64 *end) {
  u64 table = 0;
  for (int i = 0; i < header_count; i++)
    if (headers[i].type == PT_EH_FRAME) table = base + headers[i].address;
  /* version 1; a count of 4 bytes; pairs of 4 bytes, relative to the table, which is what linkers make */
  if (!table || !is_mapped(table, 12) || value_at(table + 2, 2) != 0x3b03 || *(const u8 *)table != 1)
    return 0;
  int pointer = *(const u8 *)(table + 1) & 7; /* to .eh_frame, which is not needed */
  u64 pairs = table + (pointer == 4 ? 16 : 12), count = value_at(pairs - 4, 4), first = 0, last = count;
  if (!count || !is_mapped(pairs, count * 8)) return 0;
  while (last - first > 1) {
    u64 middle = first + (last - first) / 2;
    if (table + (u64)offset_at(pairs + middle * 8) <= at) first = middle;
    else last = middle;
  }
  u64 entry = table + (u64)offset_at(pairs + first * 8 + 4);
  *start = table + (u64)offset_at(pairs + first * 8);
  if (!is_mapped(entry, 24)) return 0;
  int encoding = encoding_of(entry), format = encoding & 15;
  int bytes = format == 3 || format == 11 ? 4 : format == 0 || format == 4 || format == 12 ? 8 : 0;
  if (encoding < 0 || !bytes) return 0;
  u64 written = bytes == 4 ? (u64)offset_at(entry + 8) : value_at(entry + 8, 8);
  if ((encoding & 0x70) == 0x10) written += entry + 8;
  else if (encoding & 0x70) return 0;
  u64 length = value_at(entry + 8 + (u64)bytes, bytes);
  *end = *start + length;
  return written == *start && *start <= at && at < *end && is_mapped(*start, length);
}

/* Where the object's dynamic section points with `tag`; some loaders have added `base` to it already. */
static u64 dynamic_value(u64 tag) {
  for (u64 entry = dynamic; is_mapped(entry, 16) && value_at(entry, 8); entry += 16)
    if (value_at(entry, 8) == tag) return value_at(entry + 8, 8);
  return 0;
}

/* Whether `at` is inside an entry of the procedure linkage table, which some linkers leave out of the
   unwind table: `jmp *slot; push n; jmp`, where relocation n of the table is that of the slot. */
static int is_in_linkage_table(u64 at) {
  u64 relocations = dynamic_value(DT_JMPREL), bytes = dynamic_value(DT_PLTRELSZ);
  if (!is_mapped(relocations, bytes)) relocations += base;
  if (!bytes || !is_mapped(relocations, bytes)) return 0;
  for (u64 entry = at - 14; entry <= at; entry++) {
    if (!is_mapped(entry, 16) || value_at(entry, 2) != 0x25ff || value_at(entry + 6, 1) != 0x68 ||
        value_at(entry + 11, 1) != 0xe9)
      continue;
    u64 number = value_at(entry + 7, 4), slot = entry + 6 + (u64)offset_at(entry + 2);
    if (number < bytes / RELOCATION && base + value_at(relocations + number * RELOCATION, 8) == slot)
      return 1;
  }
  return 0;
}

static int is_prefix(u8 c) {
  return c == 0x66 || c == 0x67 || c == 0xf0 || c == 0xf2 || c == 0xf3 || c == 0x2e || c == 0x36 ||
         c == 0x3e || c == 0x26 || c == 0x64 || c == 0x65 || (c & 0xf0) == 0x40;
}

enum verdict { INSTRUCTION, INSIDE_ANOTHER, UNDECIDED };

/* What the bytes 0f a2 at `at` are. A CPUID with a prefix, which does nothing, is written by nobody. */
static enum verdict judge(u64 at) {
  u64 start, end;
  enum verdict verdict = UNDECIDED;
  if (!find_function(at, &start, &end)) return is_in_linkage_table(at) ? INSIDE_ANOTHER : UNDECIDED;
  for (u64 next = start; next < end;) {
    int length = instruction_length((const u8 *)next, (const u8 *)end);
    if (!length) return UNDECIDED;
    if (next == at) verdict = INSTRUCTION;
    if (next < at && at < next + (u64)length) {
      u64 byte = next;
      while (byte < at && is_prefix(*(const u8 *)byte)) byte++;
      if (byte == at) return UNDECIDED;
      verdict = INSIDE_ANOTHER;
    }
    next += (u64)length;
  }
  return verdict;
}

/* The object's program headers; 0 where they are not those of what the loader speaks of. Read through
   the kernel, as nothing says that there is a file's beginning at `base`. */
static int read_headers(const struct link *object) {
  struct elf elf;
  u64 at = 0, pair[2];
  long memory = call(SYS_OPEN, (long)"/proc/self/mem", 0, 0, 0);
  if (memory < 0) return 0;
  base = object->base, dynamic = object->dynamic, header_count = 0;
  if (call(SYS_PREAD, memory, (long)&elf, sizeof elf, (long)base) == sizeof elf &&
      *(u32 *)elf.ident == 0x464c457f && elf.header_size == sizeof headers[0]) {
    at = base + elf.headers, header_count = elf.header_count;
  } else if (!object->name[0]) { /* a program that is not relocated: the kernel knows */
    long vector = call(SYS_OPEN, (long)"/proc/self/auxv", 0, 0, 0);
    while (vector >= 0 && call(SYS_READ, vector, (long)pair, sizeof pair, 0) == sizeof pair)
      if (pair[0] == AT_PHDR) at = pair[1];
      else if (pair[0] == AT_PHNUM) header_count = (int)pair[1];
    call(SYS_CLOSE, vector, 0, 0, 0);
  }
  long size = header_count * (long)sizeof headers[0];
  int whole = at && header_count <= MAX_HEADERS &&
              call(SYS_PREAD, memory, (long)headers, size, (long)at) == size;
  call(SYS_CLOSE, memory, 0, 0, 0);
  for (int i = 0; whole && i < header_count; i++)
    if (headers[i].type == PT_DYNAMIC) return base + headers[i].address == dynamic;
  return 0;
}

/* The last part of its path, with what would not fit into a line of the proof made `_`. */
static void set_name(struct seen *seen, const char *path) {
  char own[512];
  if (!path[0]) {
    long length = call(SYS_READLINK, (long)"/proc/self/exe", (long)own, sizeof own - 1, 0);
    own[length > 0 ? length : 0] = 0;
    path = own;
  }
  for (const char *c = path; *c; c++)
    if (*c == '/') path = c + 1;
  int i = 0;
  for (; path[i] && i < NAME_LENGTH - 1; i++) {
    char c = path[i];
    int plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
                c == '-' || c == '+';
    seen->name[i] = plain ? c : '_';
  }
  seen->name[i] = 0;
}

/* The places of an object that was unloaded, and whose addresses another has now. */
static void forget(u64 low, u64 high) {
  for (u32 i = 0; i < site_count; i++)
    if (sites[i].at >= low && sites[i].at < high) sites[i].at = 0;
  for (u32 i = 0; i < held_count; i++)
    if (held[i].at >= low && held[i].at < high) held[i].at = 0;
}

/* Appends; the place counts once it is written, since other threads may be in a handler. */
static void note(struct site *list, u32 *count, u32 room, u64 at, struct seen *seen) {
  if (*count == room) {
    report.lost++;
    return;
  }
  list[*count].at = at, list[*count].in = seen;
  __atomic_store_n(count, *count + 1, __ATOMIC_RELEASE);
}

static struct site *find(struct site *list, const u32 *count, u64 at) {
  u32 known = __atomic_load_n(count, __ATOMIC_ACQUIRE);
  for (u32 i = 0; i < known; i++)
    if (list[i].at == at) return &list[i];
  return 0;
}

/* The pages that the bytes at `at` are on, one or two, with these rights: 0, or the error. */
static long protect(u64 at, long rights) {
  u64 low = at & ~(u64)(PAGE - 1), high = (at + 1) & ~(u64)(PAGE - 1);
  return call(SYS_MPROTECT, (long)low, (long)(high - low + PAGE), rights, 0);
}

/* What the object gives to the segment of `at`. */
static long rights_of(u64 at) {
  for (int i = 0; i < header_count; i++) {
    u64 low = base + headers[i].address;
    if (headers[i].type == PT_LOAD && at >= low && at < low + headers[i].in_file)
      return PROT_READ | PROT_EXEC | (headers[i].flags & PF_W ? PROT_WRITE : 0);
  }
  return PROT_READ | PROT_EXEC;
}

/* Pages that were only read for this are given back: the process's memory is measured too. */
static void give_back(u64 low, u64 high) {
  low = (low + PAGE - 1) & ~(u64)(PAGE - 1), high &= ~(u64)(PAGE - 1);
  if (high > low) call(SYS_MADVISE, (long)low, (long)(high - low), MADV_DONTNEED, 0);
}

/* Finds the places of one executable segment; changes nothing yet. */
static void survey(u64 low, u64 high, struct seen *seen) {
  for (u64 chunk = low; chunk < high; chunk += CHUNK) {
    u64 behind = high - chunk > CHUNK ? chunk + CHUNK : high;
    for (u64 at = chunk; at < behind && at + 1 < high; at++) {
      if (((const u8 *)at)[0] != 0x0f || ((const u8 *)at)[1] != 0xa2) continue;
      enum verdict verdict = judge(at);
      if (verdict == INSTRUCTION) {
        seen->sites++;
        note(sites, &site_count, MAX_SITES, at, seen);
      } else if (verdict == UNDECIDED) {
        seen->held++;
        for (int byte = 0; byte < 2; byte++) {
          u64 page = (at + (u64)byte) & ~(u64)(PAGE - 1);
          if (!find(held, &held_count, page)) note(held, &held_count, MAX_HELD, page, seen);
        }
      }
    }
    give_back(chunk, behind);
  }
}

/* Makes the rewritten bytes of the sites from `first` on; 0, or the last error. */
static long write_sites(u32 first) {
  long error = 0;
  for (u32 i = first; i < site_count; i++) {
    u64 at = sites[i].at;
    /* never without PROT_EXEC: where it was taken away, some systems would not give it back */
    long refused = protect(at, PROT_READ | PROT_WRITE | PROT_EXEC);
    if (!refused) {
      *(volatile u8 *)(at + 1) = 0x0b;
      refused = protect(at, rights_of(at));
    }
    if (refused) error = refused;
  }
  return error;
}

/* Takes from the pages from `first` on the right to execute; 0, or the last error. */
static long hold_pages(u32 first) {
  long error = 0;
  for (u32 i = first; i < held_count; i++) {
    long refused = call(SYS_MPROTECT, (long)held[i].at, PAGE, PROT_READ, 0);
    if (refused) error = refused;
    /* what may be read may be executed, by an old rule for old programs: nothing is held */
    if (call(SYS_PERSONALITY, 0xffffffff, 0, 0, 0) & READ_IMPLIES_EXEC) held[i].in->ran++;
  }
  return error;
}

/* Every CPUID of an object that the loader has just mapped. */
static void rewrite(const struct link *object) {
  if (report.objects == MAX_OBJECTS) {
    report.lost++;
    return;
  }
  struct seen *seen = &report.object[report.objects];
  u32 first_site = site_count, first_held = held_count;
  set_name(seen, object->name);
  if (!read_headers(object)) {
    seen->refused = ENOEXEC;
    report.objects++;
    return;
  }
  seen->low = ~0ul, seen->high = 0;
  for (int i = 0; i < header_count; i++)
    if (headers[i].type == PT_LOAD) {
      u64 low = base + headers[i].address, high = low + headers[i].in_memory;
      if (low < seen->low) seen->low = low;
      if (high > seen->high) seen->high = high;
    }
  forget(seen->low, seen->high);
  for (int i = 0; i < header_count; i++)
    if (headers[i].type == PT_LOAD && (headers[i].flags & PF_X))
      survey(base + headers[i].address, base + headers[i].address + headers[i].in_file, seen);
  for (int i = 0; i < header_count; i++)
    if (headers[i].type == PT_LOAD && !(headers[i].flags & PF_W))
      give_back(base + headers[i].address, base + headers[i].address + headers[i].in_file);
  long refused = write_sites(first_site), also = hold_pages(first_held);
  seen->refused = (u32) - (refused ? refused : also);
  if (seen->sites || seen->held) report.objects++;
}

#endif
