// Package day runs a terminal's day by a script: sign-on, transactions,
// settlement, each with the answer it should get.
//
// A script is YAML:
//
//	card: {number: "9999010000090012", expiry: "4912"}   # of steps that name none
//	steps:
//	  - {do: sign-on}
//	  - {do: sale, amount: "12.50", as: coffee}
//	  - {do: tip, amount: "2.00", of: coffee}
//	  - {do: void, of: coffee, expect: "25"}
//	  - {do: restart}
//	  - {do: settlement, expect: even}
//
// A step's answer should be 00 unless expect says another code; a settlement's
// should be even, unless it says uneven. A step that goes otherwise is counted,
// named, and the day goes on. Unknown keys are refused.
package day
