package risk

import "github.com/acqswitch/acqswitch/switch/txn"

// areaProvinces are the provinces of the area codes in merchant numbers (cup-pos
// I7), by their first two digits. The codes are the card network's own: their
// first two digits say the province, and the cities below it are not GB/T 2260's.
var areaProvinces = [100]txn.Region{
	10: 110000, 11: 120000, // Beijing, Tianjin
	12: 130000, 13: 130000, 14: 130000, // Hebei
	16: 140000, 17: 140000, 18: 140000, // Shanxi
	19: 150000, 20: 150000, // Inner Mongolia
	22: 210000, 23: 210000, // Liaoning
	24: 220000, 25: 220000, // Jilin
	26: 230000, 27: 230000, 28: 230000, // Heilongjiang
	29: 310000,                         // Shanghai
	30: 320000, 31: 320000, 32: 320000, // Jiangsu
	33: 330000, 34: 330000, 35: 330000, // Zhejiang
	36: 340000, 37: 340000, 38: 340000, // Anhui
	39: 350000, 40: 350000, 41: 350000, // Fujian
	42: 360000, 43: 360000, 44: 360000, // Jiangxi
	45: 370000, 46: 370000, 47: 370000, 48: 370000, // Shandong
	49: 410000, 50: 410000, 51: 410000, // Henan
	52: 420000, 53: 420000, 54: 420000, // Hubei
	55: 430000, 56: 430000, 57: 430000, // Hunan
	58: 440000, 59: 440000, 60: 440000, // Guangdong
	61: 450000, 62: 450000, 63: 450000, // Guangxi
	64: 460000,                                                 // Hainan
	65: 510000, 66: 510000, 67: 510000, 68: 510000, 69: 510000, // Sichuan; 653 is Chongqing
	70: 520000, 71: 520000, 72: 520000, // Guizhou
	73: 530000, 74: 530000, 75: 530000, 76: 530000, // Yunnan
	77: 540000, 78: 540000, // Tibet
	79: 610000, 80: 610000, 81: 610000, // Shaanxi
	82: 620000, 83: 620000, 84: 620000, // Gansu
	85: 630000, 86: 630000, // Qinghai
	87: 640000,                                                 // Ningxia
	88: 650000, 89: 650000, 90: 650000, 91: 650000, 92: 650000, // Xinjiang
}

// areaProvince is the province of a merchant number of fifteen digits, 0 where
// it says none.
func areaProvince(id txn.MerchantID) txn.Region {
	n, ok := txn.ParseDigits(id[3:7])
	if !ok {
		return 0
	}
	if n/10 == 653 {
		return 500000
	}
	return areaProvinces[n/100]
}

// category is the merchant category in a merchant number of fifteen digits.
func category(id txn.MerchantID) (mcc uint16, ok bool) {
	if !txn.Digits(id[:]) {
		return 0, false
	}
	n, _ := txn.ParseDigits(id[7:11])
	return uint16(n), true
}
