// Package algo is the cryptography of card terminals as pure functions: MACs
// (UnionPay's "ECB", X9.9, X9.19, CMAC, CBC-MAC), PIN blocks (ISO 9564 formats
// 0 to 4, UnionPay's plain and SM4 forms), DUKPT (X9.24-1 and X9.24-3), TR-31
// key blocks (versions B and D) and key check values, over DES, TDES, AES and
// SM4.
//
// Where a key is kept is not this package's business: everything works through
// a Cipher, which may be a key schedule in this process (Local) or a key in a
// hardware security module.
//
// Promise: no error, String or log form holds a byte of a key, a PIN, a PIN
// block or a card number; secret bytes that pass through scratch memory are
// cleared; MACs are compared in constant time.
// Not promised: resistance to timing within DES and SM4, whose software forms
// use tables, and anything about who may use which key: that is package keys.
package algo
