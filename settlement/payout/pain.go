package payout

import (
	"cmp"
	"crypto/sha256"
	"encoding/xml"
	"fmt"
	"io"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/acqswitch/acqswitch/switch/txn"
)

// Payment is one order to the bank.
type Payment struct {
	Merchant txn.MerchantID
	Amount   txn.Amount
	Executes txn.Date
	Account  *Account
	EndToEnd string
}

func endToEndHex(day txn.Date, m txn.MerchantID, currency string) string {
	sum := sha256.Sum256(m[:])
	return fmt.Sprintf("%08d-x%x-%s", uint32(day), sum[:7], currency)
}

// The elements of pain.001.001.09, in the schema's order. What the schema lets
// leave out and a domestic bank does not need is left out.
type (
	documentXML struct {
		XMLName  xml.Name     `xml:"urn:iso:std:iso:20022:tech:xsd:pain.001.001.09 Document"`
		Header   headerXML    `xml:"CstmrCdtTrfInitn>GrpHdr"`
		Payments []paymentXML `xml:"CstmrCdtTrfInitn>PmtInf"`
	}
	headerXML struct {
		ID        string `xml:"MsgId"`
		Created   string `xml:"CreDtTm"`
		Count     int    `xml:"NbOfTxs"`
		Sum       string `xml:"CtrlSum"`
		Initiator string `xml:"InitgPty>Nm"`
	}
	paymentXML struct {
		ID        string        `xml:"PmtInfId"`
		Method    string        `xml:"PmtMtd"`
		Count     int           `xml:"NbOfTxs"`
		Sum       string        `xml:"CtrlSum"`
		Executes  string        `xml:"ReqdExctnDt>Dt"`
		Debtor    string        `xml:"Dbtr>Nm"`
		Account   accountXML    `xml:"DbtrAcct"`
		Agent     agentXML      `xml:"DbtrAgt>FinInstnId"`
		Transfers []transferXML `xml:"CdtTrfTxInf"`
	}
	transferXML struct {
		EndToEnd   string     `xml:"PmtId>EndToEndId"`
		Amount     amountXML  `xml:"Amt>InstdAmt"`
		Agent      agentXML   `xml:"CdtrAgt>FinInstnId"`
		Creditor   string     `xml:"Cdtr>Nm"`
		Account    accountXML `xml:"CdtrAcct"`
		Remittance string     `xml:"RmtInf>Ustrd"`
	}
	accountXML struct {
		IBAN  string    `xml:"Id>IBAN,omitempty"`
		Other *otherXML `xml:"Id>Othr"`
	}
	otherXML struct {
		ID string `xml:"Id"`
	}
	agentXML struct {
		BIC    string     `xml:"BICFI,omitempty"`
		Member *memberXML `xml:"ClrSysMmbId"`
	}
	memberXML struct {
		System string `xml:"ClrSysId>Cd"`
		ID     string `xml:"MmbId"`
	}
	amountXML struct {
		Currency string `xml:"Ccy,attr"`
		Value    string `xml:",chardata"`
	}
)

// WritePain writes a pain.001 message with the payments of the run of a business
// day that began at an instant; there must be one at least. Payments of one
// execution date and currency are one group, in the order of payments. The same
// payments give the same bytes.
func (t *Terms) WritePain(w io.Writer, day txn.Date, began time.Time, payments []Payment) error {
	id := MessageID(day)
	doc := documentXML{Header: headerXML{id, began.Format("2006-01-02T15:04:05-07:00"), len(payments), controlSum(payments), t.Payer}}
	rest := slices.Clone(payments)
	slices.SortStableFunc(rest, comparePayments)
	for len(rest) > 0 {
		first := &rest[0]
		n := slices.IndexFunc(rest, func(p Payment) bool { return comparePayments(p, *first) != 0 })
		if n < 0 {
			n = len(rest)
		}
		payer, currency := find(t.payer, first.Amount.Currency), first.Amount.Currency.Letters()
		group := paymentXML{ID: GroupID(day, first.Executes, currency), Method: "TRF", Count: n, Sum: controlSum(rest[:n]),
			Executes: first.Executes.String(), Debtor: t.Payer, Account: accountOf(payer), Agent: agentOf(payer)}
		for _, p := range rest[:n] {
			group.Transfers = append(group.Transfers, transferXML{p.EndToEnd, amountXML{currency, p.Amount.Major()}, agentOf(p.Account), p.Account.Name,
				accountOf(p.Account), fmt.Sprintf("settlement %s merchant %s", day, p.Merchant)})
		}
		doc.Payments = append(doc.Payments, group)
		rest = rest[n:]
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	e := xml.NewEncoder(w)
	e.Indent("", " ")
	if err := e.Encode(&doc); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

// MessageID is the id of the message with the payments of a business day.
func MessageID(day txn.Date) string { return fmt.Sprintf("%s%08d", messagePrefix, uint32(day)) }

// GroupID is the id of those of them that execute on one day, in one currency.
func GroupID(day, executes txn.Date, currency string) string {
	return fmt.Sprintf("%s-%08d-%s", MessageID(day), uint32(executes), currency)
}

const messagePrefix = "PAYOUT-"

// comparePayments orders by group.
func comparePayments(a, b Payment) int {
	return cmp.Or(cmp.Compare(a.Executes, b.Executes), cmp.Compare(a.Amount.Currency, b.Amount.Currency))
}

func accountOf(a *Account) accountXML {
	if looksLikeIBAN(a.Number) {
		return accountXML{IBAN: a.Number}
	}
	return accountXML{Other: &otherXML{a.Number}}
}

func agentOf(a *Account) agentXML {
	if isBIC(a.Bank) {
		return agentXML{BIC: a.Bank}
	}
	return agentXML{Member: &memberXML{"CNAPS", a.Bank}}
}

// controlSum is the sum of the amounts in major units, whatever their currencies.
func controlSum(payments []Payment) string {
	const places = 4 // the most that a currency has
	sum := new(big.Int)
	most := 0
	for i := range payments {
		a := payments[i].Amount
		exp, _ := a.Currency.Exponent()
		most = max(most, exp)
		scale := big.NewInt(1)
		for range places - exp {
			scale.Mul(scale, big.NewInt(10))
		}
		sum.Add(sum, scale.Mul(scale, big.NewInt(a.Minor)))
	}
	s := sum.String()
	s = strings.Repeat("0", max(0, places+1-len(s))) + s
	whole, frac := s[:len(s)-places], s[len(s)-places:][:most]
	if most == 0 {
		return whole
	}
	return whole + "." + frac
}
