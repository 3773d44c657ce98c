// Package keys holds what the switch keeps secret: card numbers at rest
// (Cards), and the keys of terminals and issuers (Vault).
//
// A vault makes keys, seals them under its local master key (LMK) and uses
// them: it issues a terminal's working keys at sign-on, verifies and makes
// MACs, and translates PIN blocks from a terminal's key to an issuer's. Callers
// store sealed keys and hold opened ones (Terminal, Zone). Two vaults share
// all of that code and differ in where a clear key is: OpenSoft keeps the LMK
// in a file and clear keys in this process's memory, OpenPKCS11 keeps both in
// a hardware security module.
//
// Promise: a sealed key opens only for its owner, its purpose and under its
// own LMK; no method returns, logs or wraps key material, a PIN, a PIN block
// or card digits; opened keys are overwritten on Close; a vault that is down
// refuses, and nothing stands in for it.
// Not promised: that the operating system never writes this process's memory
// to disk, unless LockMemory succeeded; and, with PKCS#11, that clear PIN
// blocks never exist outside the module: its interface has no translation, so
// they are in this process for microseconds. docs/security.md has the whole
// picture.
package keys
