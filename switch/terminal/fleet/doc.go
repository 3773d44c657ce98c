// Package fleet is a fleet of terminals playing a day's traffic, and that
// traffic as a capture.
//
// A Day is what a fleet of terminals sends and what each message should be
// answered. It comes from a capture (pcap) that ReadCapture reads. Play plays it
// against a switch; given a Recorder, what is played becomes a capture that Wireshark
// opens. The sample day in testdata/day was planned and recorded by this package's
// tests: gen_*_test.go are its generator.
//
// Some of the sample day's terminals have test keys: they sign on for working
// keys, make MACs, send PINs and believe no approval without its MAC. Working keys
// are new each time, so MACs and PIN blocks in a recording are made anew when it
// is played.
//
// Card numbers are invented: they begin with 9999, which ISO 7812 leaves to
// national standards bodies of a country that does not exist.
package fleet
