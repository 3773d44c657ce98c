package alert

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Code is an entry of one of the payment association's lists (cup-pos D3).
type Code struct {
	Code string `json:"code"`
	Name string `json:"name"`
}

// RiskTypes are what an alert may turn out to be.
var RiskTypes = []Code{
	{"01", "false application"}, {"02", "cash for credit"}, {"03", "illegal business"}, {"04", "selling or moving stolen goods"},
	{"05", "trading or lending accounts"}, {"06", "skimming, on purpose"}, {"07", "counterfeit cards, on purpose"}, {"08", "leak of account data"},
	{"09", "fraudulent closure"}, {"10", "splitting, on purpose"}, {"11", "terminal was moved"}, {"12", "high-risk merchant"}, {"13", "fraud in collusion"},
	{"14", "bankruptcy or closure"}, {"15", "forced trade"}, {"17", "frequent change of acquirer"}, {"18", "a related merchant is involved"},
	{"19", "trading card data"}, {"20", "credit cards are refused"}, {"21", "the fee is put on cardholders"}, {"22", "leak of sensitive data"},
	{"23", "terminal was altered"}, {"24", "terminal was switched to another acquirer"}, {"25", "second clearing"}, {"26", "false category"},
	{"27", "application in another's name"}, {"28", "skimming, without intent"}, {"29", "money laundering"}, {"30", "currency arbitrage"},
	{"31", "evasion of exchange control"}, {"32", "exchange fraud"}, {"33", "splitting of transactions"}, {"35", "on a list"}, {"36", "of the issuer's side"},
	{"37", "registration in bad faith"}, {"42", "gambling abroad"}, {"43", "transfers for gambling abroad"}, {"45", "terminal or code is misused"},
	{"46", "gambling"}, {"47", "transfers for gambling"}, {"99", "other"},
}

// Dispositions are what may be done about it. What some do besides being noted is
// told by Workbench.Dispose.
var Dispositions = []Code{
	{"01", "end the contract"}, {"02", "accept no more business"}, {"03", "suspend settlement"}, {"04", "freeze the account"},
	{"05", "change the payout cycle"}, {"06", "delay settlement"}, {"07", "limit what is taken"}, {"08", "suspend card transactions"},
	{"09", "take the terminal back"}, {"10", "keep watching"}, {"11", "report for money laundering"}, {"99", "other"},
}

// Sources are who said so.
var Sources = []Code{
	{"GA", "police, prosecution or court"}, {"RH", "central bank"}, {"HY", "a member of the association"}, {"QS", "clearing organization"},
	{"XH", "the association's model"}, {"LHG", "United Nations"}, {"OFAC", "OFAC"}, {"QT", "other"},
}

func find(list []Code, code string) bool {
	return slices.ContainsFunc(list, func(c Code) bool { return c.Code == code })
}

func codes(list []Code) string {
	var s []string
	for _, c := range list {
		s = append(s, c.Code)
	}
	return strings.Join(s, ", ")
}

// Decision is how an alert is disposed of.
type Decision struct {
	RiskType     string   `json:"risk_type"`
	Source       string   `json:"source"`
	Dispositions []string `json:"dispositions"`
	Note         string   `json:"note,omitempty"`
}

// Check says which code does not exist, or which codes do not go together.
func (d *Decision) Check() error {
	switch {
	case !find(RiskTypes, d.RiskType):
		return fmt.Errorf("risk type %q must be one of %s", d.RiskType, codes(RiskTypes))
	case !find(Sources, d.Source):
		return fmt.Errorf("source %q must be one of %s", d.Source, codes(Sources))
	case len(d.Dispositions) == 0:
		return errors.New("say at least one disposition: 99 is none of the others")
	}
	for i, code := range d.Dispositions {
		if !find(Dispositions, code) {
			return fmt.Errorf("disposition %q must be one of %s", code, codes(Dispositions))
		}
		if slices.Contains(d.Dispositions[:i], code) {
			return fmt.Errorf("disposition %s is said twice", code)
		}
	}
	return nil
}

func (d *Decision) does(codes ...string) bool {
	return slices.ContainsFunc(d.Dispositions, func(c string) bool { return slices.Contains(codes, c) })
}
