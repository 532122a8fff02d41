/*
 * Lets User-Mode Linux 6.1 run on processors with AMX, as a library that is loaded before it (LD_PRELOAD).
 *
 * It keeps its processes' floating point state in 2,696 bytes, as far as AVX-512 goes, and has the kernel set it by ptrace(2),
 * PTRACE_SETREGSET of NT_X86_XSTATE. A kernel on a processor with AMX has 11,008 bytes, and refuses less than all with EFAULT
 * (arch/x86/kernel/fpu/regset.c, xstateregs_set): the first process of a guest gets SIGSEGV. So what is missing is added: zeros, which
 * the state's own header calls unused, since a process has to ask before it may use AMX (arch_prctl(2), ARCH_REQ_XCOMP_PERM).
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>

/* More than any processor has; User-Mode Linux calls ptrace from one thread. */
static char state[1 << 16];
static size_t whole;

long ptrace(enum __ptrace_request request, ...)
{
	static long (*next)(enum __ptrace_request, ...);
	va_list arguments;
	va_start(arguments, request);
	pid_t pid = va_arg(arguments, pid_t);
	void *address = va_arg(arguments, void *);
	void *data = va_arg(arguments, void *);
	va_end(arguments);

	if (!next)
		next = dlsym(RTLD_NEXT, "ptrace");
	if (request != PTRACE_SETREGSET || address != (void *)NT_X86_XSTATE)
		return next(request, pid, address, data);

	const struct iovec *given = data;
	if (!whole) {
		struct iovec all = { state, sizeof(state) };
		if (next(PTRACE_GETREGSET, pid, address, &all) == 0)
			whole = all.iov_len;
		memset(state, 0, sizeof(state));
	}
	if (given->iov_len >= whole)
		return next(request, pid, address, data);
	memcpy(state, given->iov_base, given->iov_len);
	struct iovec all = { state, whole };
	return next(request, pid, address, &all);
}
