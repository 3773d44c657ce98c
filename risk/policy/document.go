package policy

import (
	"github.com/acqswitch/acqswitch/switch/yamlfile"
)

// document is the file. The keys are explained in testdata/policy.yaml.
type document struct {
	Version   yamlfile.Scalar   `yaml:"version"`
	Builtin   []builtinYAML     `yaml:"builtin"`
	Places    placesYAML        `yaml:"places"`
	Patterns  patternsYAML      `yaml:"patterns"`
	Legal     legalYAML         `yaml:"legal"`
	Crossings []crossingYAML    `yaml:"crossings"`
	Permits   []permitYAML      `yaml:"permits"`
	Plans     []planYAML        `yaml:"plans"`
	Overrides []overrideYAML    `yaml:"overrides"`
	Cards     []blockYAML       `yaml:"blocked_cards"`
	Persons   []yamlfile.Scalar `yaml:"shunned_persons"`
	Lists     []listYAML        `yaml:"lists"`
	Rules     []ruleYAML        `yaml:"rules"`
}

type builtinYAML struct {
	Rule   yamlfile.Scalar `yaml:"rule"`
	Mode   yamlfile.Scalar `yaml:"mode"`
	Action yamlfile.Scalar `yaml:"action"`
}

type placesYAML struct {
	InfoFrom  yamlfile.Scalar `yaml:"info_from"`
	SilentMax yamlfile.Scalar `yaml:"silent_max"`
	Radius    yamlfile.Scalar `yaml:"radius_m"`
	FarMax    yamlfile.Scalar `yaml:"far_max"`
	Far       yamlfile.Scalar `yaml:"far_m"`
	Speed     yamlfile.Scalar `yaml:"speed_max_kmh"`
}

type patternsYAML struct {
	Repeats       yamlfile.Scalar   `yaml:"repeats"`
	RepeatsDay    yamlfile.Scalar   `yaml:"repeats_day"`
	RepeatsMax    yamlfile.Scalar   `yaml:"repeats_max"`
	CreditPercent yamlfile.Scalar   `yaml:"credit_percent"`
	CreditFrom    yamlfile.Scalar   `yaml:"credit_from"`
	NearCount     yamlfile.Scalar   `yaml:"near_count"`
	Near          []yamlfile.Scalar `yaml:"near"`
	NightPercent  yamlfile.Scalar   `yaml:"night_percent"`
	NightFrom     yamlfile.Scalar   `yaml:"night_from"`
	SurgeTimes    yamlfile.Scalar   `yaml:"surge_times"`
	Declines      yamlfile.Scalar   `yaml:"declines"`
	DeclinedCards yamlfile.Scalar   `yaml:"declined_cards"`
	RefundPercent yamlfile.Scalar   `yaml:"refund_percent"`
	RefundsFrom   yamlfile.Scalar   `yaml:"refunds_from"`
	Provinces     yamlfile.Scalar   `yaml:"provinces"`
	BackwardsMax  yamlfile.Scalar   `yaml:"backwards_max"`
}

type legalYAML struct {
	MicroDay   yamlfile.Scalar `yaml:"micro_credit_day"`
	MicroMonth yamlfile.Scalar `yaml:"micro_credit_month"`
	CodeA      yamlfile.Scalar `yaml:"code_day_a"`
	CodeB      yamlfile.Scalar `yaml:"code_day_b"`
	CodeC      yamlfile.Scalar `yaml:"code_day_c"`
	CodeD      yamlfile.Scalar `yaml:"code_day_d"`
	NoPIN      yamlfile.Scalar `yaml:"no_pin"`
}

type crossingYAML struct {
	Merchants yamlfile.Scalar `yaml:"merchants"`
	City      yamlfile.Scalar `yaml:"city"`
	Province  yamlfile.Scalar `yaml:"province"`
	Border    yamlfile.Scalar `yaml:"border"`
}

type permitYAML struct {
	Merchant yamlfile.Scalar `yaml:"merchant"`
	Terminal yamlfile.Scalar `yaml:"terminal"`
	Region   yamlfile.Scalar `yaml:"region"`
	Country  yamlfile.Scalar `yaml:"country"`
	From     yamlfile.Scalar `yaml:"from"`
	Until    yamlfile.Scalar `yaml:"until"`
}

type planYAML struct {
	Number yamlfile.Scalar `yaml:"number"`
	Name   yamlfile.Scalar `yaml:"name"`
	Level  yamlfile.Scalar `yaml:"code_level"`
	NoPIN  yamlfile.Scalar `yaml:"no_pin"`
	Limits []limitYAML     `yaml:"limits"`
}

type limitYAML struct {
	Of          yamlfile.Scalar   `yaml:"of"`
	Currency    yamlfile.Scalar   `yaml:"currency"`
	Methods     []yamlfile.Scalar `yaml:"methods"`
	Cards       []yamlfile.Scalar `yaml:"cards"`
	MCC         yamlfile.Scalar   `yaml:"mcc"`
	Region      yamlfile.Scalar   `yaml:"region"`
	From        yamlfile.Scalar   `yaml:"from"`
	Until       yamlfile.Scalar   `yaml:"until"`
	Transaction yamlfile.Scalar   `yaml:"transaction"`
	DayAmount   yamlfile.Scalar   `yaml:"day_amount"`
	DayCount    yamlfile.Scalar   `yaml:"day_count"`
	MonthAmount yamlfile.Scalar   `yaml:"month_amount"`
	MonthCount  yamlfile.Scalar   `yaml:"month_count"`
}

type overrideYAML struct {
	ID    yamlfile.Scalar `yaml:"id"`
	Limit limitYAML       `yaml:",inline"`
}

type blockYAML struct {
	Card  yamlfile.Scalar `yaml:"card"`
	Why   yamlfile.Scalar `yaml:"why"`
	From  yamlfile.Scalar `yaml:"from"`
	Until yamlfile.Scalar `yaml:"until"`
}

type listYAML struct {
	Name    yamlfile.Scalar   `yaml:"name"`
	Of      yamlfile.Scalar   `yaml:"of"`
	Entries []yamlfile.Scalar `yaml:"entries"`
}

type ruleYAML struct {
	Number  yamlfile.Scalar `yaml:"number"`
	Name    yamlfile.Scalar `yaml:"name"`
	When    yamlfile.Scalar `yaml:"when"`
	Action  yamlfile.Scalar `yaml:"action"`
	Refuse  yamlfile.Scalar `yaml:"refuse_as"`
	OnError yamlfile.Scalar `yaml:"on_error"`
	Mode    yamlfile.Scalar `yaml:"mode"`
	From    yamlfile.Scalar `yaml:"from"`
	Until   yamlfile.Scalar `yaml:"until"`
}
