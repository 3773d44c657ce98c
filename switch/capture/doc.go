// Package capture turns recorded traffic into a file that holds no card data and
// can be played again.
//
// Follow reads pcap and pcapng packet by packet and puts TCP sessions together;
// ReadLines reads messages as text: hexadecimal, JSON, logs of jPOS, CSV
// templates. A Cleaner replaces card numbers by
// pseudonyms and takes out what else is secret; a Writer keeps the messages in
// the stored form, whose bytes are in docs/captures.md, and a Reader gives them
// back as exchanges, a request with what it was answered.
//
// All of them stream: memory is bounded by what is open at one time, whatever
// the size of the file. A message that the dialect cannot take apart cannot be
// cleaned, and is left out and counted.
//
// Not here: sending anything (package replay).
package capture
