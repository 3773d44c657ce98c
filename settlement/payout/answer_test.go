package payout

import (
	"fmt"
	"strings"
	"testing"
)

const report = `<Document xmlns="urn:iso:std:iso:20022:tech:xsd:pain.002.001.03"><CstmrPmtStsRpt>
<GrpHdr><MsgId>B1</MsgId><CreDtTm>2026-11-23T09:00:00</CreDtTm></GrpHdr>
<OrgnlGrpInfAndSts><OrgnlMsgId>PAYOUT-20261122</OrgnlMsgId><OrgnlMsgNmId>pain.001.001.09</OrgnlMsgNmId><GrpSts>PART</GrpSts></OrgnlGrpInfAndSts>
<OrgnlPmtInfAndSts><OrgnlPmtInfId>PAYOUT-20261122-20261123-CNY</OrgnlPmtInfId><PmtInfSts>ACSC</PmtInfSts>
<TxInfAndSts><StsId>1</StsId><OrgnlEndToEndId>20261122-M1-CNY</OrgnlEndToEndId><TxSts>RJCT</TxSts>
<StsRsnInf><Rsn><Cd>AC04</Cd></Rsn><AddtlInf>closed
 account</AddtlInf></StsRsnInf><OrgnlTxRef><Amt><InstdAmt Ccy="CNY">746.25</InstdAmt></Amt></OrgnlTxRef></TxInfAndSts>
<TxInfAndSts><OrgnlEndToEndId>20261122-M2-CNY</OrgnlEndToEndId><TxSts>ACSP</TxSts></TxInfAndSts></OrgnlPmtInfAndSts>
<OrgnlPmtInfAndSts><OrgnlPmtInfId>PAYOUT-20261122-20261123-KWD</OrgnlPmtInfId><PmtInfSts>RJCT</PmtInfSts><StsRsnInf><Rsn><Prtry>X9</Prtry></Rsn></StsRsnInf></OrgnlPmtInfAndSts>
</CstmrPmtStsRpt></Document>
`

// message is what a bank says of all payments of a day at once.
const message = `<Document xmlns="urn:iso:std:iso:20022:tech:xsd:pain.002.001.03"><CstmrPmtStsRpt>
<GrpHdr><MsgId>B1</MsgId></GrpHdr>
<OrgnlGrpInfAndSts><OrgnlMsgId>PAYOUT-20261122</OrgnlMsgId><GrpSts>CODE</GrpSts></OrgnlGrpInfAndSts>
</CstmrPmtStsRpt></Document>
`

func TestReadAnswers(t *testing.T) {
	long := strings.Repeat("é", reasonMax)
	for _, c := range []struct{ text, want string }{
		{report, "5 20261122-M1-CNY 2 746.25 AC04 closed account|8 20261122-M2-CNY 0|4 PAYOUT-20261122-20261123-CNY 1|9 PAYOUT-20261122-20261123-KWD 2 X9|"},
		{"\xef\xbb\xbfreason,end_to_end,status\n\"no\nsuch\",20261122-M1-CNY,rejected\n,20261122-M2-CNY,returned\n" + long + ",20261122-M3-CNY,paid\n,20261122-M4-CNY,paid\n",
			"2 20261122-M1-CNY 2 no such|4 20261122-M2-CNY 2 returned|5 20261122-M3-CNY 1 " + long[:reasonMax] + "|6 20261122-M4-CNY 1|"},
		{strings.Replace(report, "<TxSts>ACSP</TxSts>", "", 1), "5 20261122-M1-CNY 2 746.25 AC04 closed account|4 PAYOUT-20261122-20261123-CNY 1|9 PAYOUT-20261122-20261123-KWD 2 X9|"},

		{strings.Replace(strings.Replace(message, "CODE", "RJCT", 1), "</OrgnlGrpInfAndSts>", "<StsRsnInf><Rsn><Cd>AM04</Cd></Rsn></StsRsnInf></OrgnlGrpInfAndSts>", 1), "3 PAYOUT-20261122 2 AM04|"},
		{strings.Replace(message, "CODE", "ACSC", 1), "3 PAYOUT-20261122 1|"},
		{strings.Replace(message, "CODE", "ACSP", 1), "f: it has no answer to any payment"},
		{strings.Replace(message, "CODE", "NONE", 1), `f:3: GrpSts: "NONE" is no status of payments`},

		{"", "f: it is empty"},
		{"status\n", "f:1: end_to_end: there is no such column"},
		{"end_to_end,status,status\n", "f:1: status: is there twice"},
		{"end_to_end,status,card\n", `f:1: the column "card" must be one of`},
		{"end_to_end,status\n", "f: it has no answer to any payment"},
		{"end_to_end,status\n20261122-M1-CNY\n", "f:2: wrong number of fields"},
		{"end_to_end,status\n20261122-M1-CNY,paid\n20261122-M2-CNY,done\n", `f:3: status: "done" must be paid, pending, rejected or returned`},
		{"end_to_end,status\n20261322-M1-CNY,paid\n", `f:2: end_to_end: "20261322-M1-CNY" is not the id of a payment`},
		{"end_to_end,status\n20261122-M1-CNY,\"paid\n", "f:2: extraneous or missing"},
		{"<html/>", "f:1: html: it must be the Document of a pain.002"},
		{strings.Replace(report, "pain.002", "pain.001", 1), "f:1: Document: it must be the Document of a pain.002"},
		{report[:len(report)/2], "f:5: TxInfAndSts: XML syntax error on line 5: unexpected EOF"},
		{strings.Replace(report, "<TxSts>ACSP", "<TxSts>DONE", 1), `f:8: TxSts: "DONE" is no status of a payment`},
		{strings.Replace(report, "<TxSts>ACSP", "<TxSts>PART", 1), `f:8: TxSts: "PART" is no status of a payment`},
		{strings.ReplaceAll(report, "Document", "Report"), "f:1: Report: it must be the Document of a pain.002"},
		{strings.Replace(report, "<PmtInfSts>RJCT", "<PmtInfSts>NO", 1), `f:9: PmtInfSts: "NO" is no status of payments`},
		{strings.Replace(report, "<OrgnlPmtInfId>PAYOUT-20261122-20261123-KWD</OrgnlPmtInfId>", "", 1), "f:9: PmtInfSts: it does not say of which payments"},
		{strings.Replace(report, "20261122-M2-CNY", "M2", 1), `f:8: OrgnlEndToEndId: "M2" is not the id of a payment`},
		{strings.Replace(strings.Replace(report, "<OrgnlMsgId>PAYOUT-20261122</OrgnlMsgId>", "", 1), "<GrpSts>PART</GrpSts>", "", 1), "f: OrgnlMsgId: it does not say which message it answers"},
		{"<!DOCTYPE x [<!ENTITY a \"b\">]><Document xmlns=\"urn:iso:std:iso:20022:tech:xsd:pain.002.001.03\">&a;</Document>", "f:1: XML syntax error"},
	} {
		all, err := ReadAnswers("f", strings.NewReader(c.text))
		got := ""
		for _, a := range all {
			got += strings.TrimSpace(strings.Join(strings.Fields(fmt.Sprint(a.Line, " ", a.EndToEnd, " ", a.Of, " ", uint8(a.Status), " ", a.Amount, " ", a.Reason)), " ")) + "|"
		}
		if err != nil {
			got = err.Error()
		}
		if err == nil && got != c.want || err != nil && !strings.HasPrefix(got, c.want) {
			t.Errorf("%.60q\n got %s\nwant %s", c.text, got, c.want)
		}
	}
}

// TestStatuses: what is not settled is not paid, and money is given back only of what
// is refused.
func TestStatuses(t *testing.T) {
	want := map[Status]string{StatusPaid: "ACSC ACCC", StatusBack: "RJCT CANC", StatusPending: "RCVD PDNG ACTC ACCP ACSP ACWC ACFC PATC ACWP"}
	for status, codes := range want {
		for _, code := range strings.Fields(codes) {
			all, err := ReadAnswers("f", strings.NewReader(strings.Replace(report, "<TxSts>ACSP", "<TxSts>"+code, 1)))
			if err != nil || all[1].EndToEnd != "20261122-M2-CNY" || all[1].Status != status {
				t.Errorf("%s: %+v, %v", code, all, err)
			}
		}
	}
	for word, status := range map[string]Status{"paid": StatusPaid, "pending": StatusPending, "rejected": StatusBack, "returned": StatusBack} {
		all, err := ReadAnswers("f", strings.NewReader("end_to_end,status\n20261122-M1-CNY,"+word+"\n"))
		if err != nil || all[0].Status != status {
			t.Errorf("%s: %+v, %v", word, all, err)
		}
	}
}

// FuzzReadAnswers holds that whatever a bank sends is read or refused, within the
// limits.
func FuzzReadAnswers(f *testing.F) {
	f.Add(report)
	f.Add("end_to_end,status,amount,reason\n20261122-M1-CNY,paid,1.00,\n")
	f.Fuzz(func(t *testing.T, text string) {
		all, err := ReadAnswers("f", strings.NewReader(text))
		if (err == nil) == (len(all) == 0) {
			t.Errorf("%d answers, %v", len(all), err)
		}
		for _, a := range all {
			if (a.EndToEnd == "") == (a.Of == "") || len(a.Reason) > reasonMax || strings.ContainsAny(a.Reason, "\r\n") {
				t.Errorf("%+v", a)
			}
		}
	})
}
