package keys

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// LockMemory keeps this process's memory out of swap and core dumps, now and
// from now on, so that clear keys stay in RAM. It is for the whole process,
// which is why the program calls it and no vault does.
//
// It needs the capability IPC_LOCK or an unlimited RLIMIT_MEMLOCK (systemd:
// LimitMEMLOCK=infinity); without them it says so, and what to do instead is
// the operator's decision: no swap, or encrypted swap.
func LockMemory() error {
	const current, future, onFault = 1, 2, 4 // MCL_*: pages are locked as they are touched
	if err := syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{}); err != nil {
		return fmt.Errorf("forbid core dumps: %w", err)
	}
	if _, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, syscall.PR_SET_DUMPABLE, 0, 0); errno != 0 {
		return fmt.Errorf("forbid core dumps: %w", errno)
	}
	// Under a finite limit a later allocation would fail, and the process with
	// it: that is worse than saying so now.
	unlimited, err := mayLockAll()
	if err != nil {
		return fmt.Errorf("lock memory: %w", err)
	}
	if !unlimited {
		return errors.New("lock memory: the process may lock only part of it; give it LimitMEMLOCK=infinity or the capability IPC_LOCK, or run without swap")
	}
	if err := syscall.Mlockall(current | future | onFault); err != nil {
		return fmt.Errorf("lock memory: %w; run without swap, or with encrypted swap", err)
	}
	return nil
}

// mayLockAll says that no limit on locked memory applies to this process.
func mayLockAll() (bool, error) {
	const memlock, ipcLock = 8, 14 // RLIMIT_MEMLOCK, CAP_IPC_LOCK
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(memlock, &limit); err != nil {
		return false, fmt.Errorf("read the limit of locked memory: %w", err)
	}
	if limit.Cur == ^uint64(0) {
		return true, nil
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return false, fmt.Errorf("read this process's capabilities: %w", err)
	}
	_, caps, _ := strings.Cut(string(status), "\nCapEff:\t")
	caps, _, _ = strings.Cut(caps, "\n")
	mask, err := strconv.ParseUint(caps, 16, 64)
	if err != nil {
		return false, fmt.Errorf("read this process's capabilities: %w", err)
	}
	return mask>>ipcLock&1 == 1, nil
}
