// Package script plays certification scripts: what terminals and issuers do,
// and what must come of it.
//
// A script is one case, a text of one step a line:
//
//	# An issuer that never answers costs exactly one reversal.
//	at 20000002 merchant=999290059990001
//	card usual 9999010000090012 expiry=4912
//	issuer silent kind=sale
//	terminal sale amount=12.50 as=coffee
//	expect 98 within=3s
//	issuer approve
//	issuer expect approved=1 reversed=1
//	kill
//	start
//	terminal repeat of=coffee
//	expect same
//	verify
//
// docs/terminal.md has every verb. The first comment is the case's title. A
// terminal's step should be answered 00 (a settlement: even) unless the next line
// says what else to expect. What comes out otherwise is counted and named, and
// the case goes on.
//
// The switch is a Stage. It may be anybody's for steps of terminals; steps of issuers,
// and kill, start and verify, need one that the player runs itself.
package script
