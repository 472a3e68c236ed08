//! The value of one attribute, by its VR (PS3.18 Table F.2.3-1), as archives write it.
//!
//! dicom-json reads what the standard says and refuses the data set for anything else: here numbers
//! may be strings and strings numbers, nulls may stand anywhere, and names need not be objects.

use dicom_core::value::C;
use dicom_core::{PrimitiveValue, Tag, VR};
use serde_json::{Map, Number, Value};

/// Reads the members of a `Value`. The VR comes back too, since an archive that takes a signed
/// attribute for an unsigned one, or the reverse, shows so by its numbers.
///
/// `None` where a member makes no sense for the VR.
pub(super) fn read(vr: VR, values: &[Value]) -> Option<(VR, PrimitiveValue)> {
    if values.iter().all(Value::is_null) {
        return Some((vr, PrimitiveValue::Empty));
    }
    match vr {
        VR::AE | VR::AS | VR::CS | VR::DA | VR::DS | VR::DT | VR::LO => joined(vr, values),
        VR::PN | VR::SH | VR::TM | VR::UC | VR::UI => joined(vr, values),
        VR::IS => Some((vr, texts(values, Some('\\'), integer_string)?)),
        // A backslash is text in these (PS3.5 §6.2).
        VR::LT | VR::ST | VR::UR | VR::UT => Some((vr, texts(values, None, string)?)),
        VR::AT => Some((vr, PrimitiveValue::Tags(scalars(values, tag)?))),
        VR::US => u16s(VR::US, values).or_else(|| i16s(VR::SS, values)),
        VR::SS => i16s(VR::SS, values).or_else(|| u16s(VR::US, values)),
        VR::UL => u32s(VR::UL, values).or_else(|| i32s(VR::SL, values)),
        VR::SL => i32s(VR::SL, values).or_else(|| u32s(VR::UL, values)),
        VR::UV => u64s(VR::UV, values).or_else(|| i64s(VR::SV, values)),
        VR::SV => i64s(VR::SV, values).or_else(|| u64s(VR::UV, values)),
        // Binary as numbers, as Orthanc wrote it up to its plugin 1.23.
        VR::OB => bytes(VR::OB, values).or_else(|| u16s(VR::OW, values)),
        VR::OW => u16s(VR::OW, values).or_else(|| i16s(VR::OW, values)),
        VR::OL => u32s(VR::OL, values),
        VR::OV => u64s(VR::OV, values),
        VR::FL | VR::OF => {
            Some((vr, PrimitiveValue::F32(scalars(values, |s| float(s).map(|f| f as f32))?)))
        }
        VR::FD | VR::OD => Some((vr, PrimitiveValue::F64(scalars(values, float)?))),
        VR::UN => unknown(values),
        VR::SQ => None,
    }
}

/// Reads the bytes of an `InlineBinary`: the value field in little endian (§F.2.7).
pub(super) fn from_bytes(vr: VR, bytes: Vec<u8>) -> Option<PrimitiveValue> {
    if bytes.is_empty() {
        return Some(PrimitiveValue::Empty);
    }
    let value = match vr {
        VR::OB | VR::UN => None,
        VR::OW | VR::US => cells(&bytes, u16::from_le_bytes).map(PrimitiveValue::U16),
        VR::SS => cells(&bytes, i16::from_le_bytes).map(PrimitiveValue::I16),
        VR::OL | VR::UL => cells(&bytes, u32::from_le_bytes).map(PrimitiveValue::U32),
        VR::SL => cells(&bytes, i32::from_le_bytes).map(PrimitiveValue::I32),
        VR::OV | VR::UV => cells(&bytes, u64::from_le_bytes).map(PrimitiveValue::U64),
        VR::SV => cells(&bytes, i64::from_le_bytes).map(PrimitiveValue::I64),
        VR::OF | VR::FL => cells(&bytes, f32::from_le_bytes).map(PrimitiveValue::F32),
        VR::OD | VR::FD => cells(&bytes, f64::from_le_bytes).map(PrimitiveValue::F64),
        VR::AT => cells(&bytes, |b: [u8; 4]| {
            Tag(u16::from_le_bytes([b[0], b[1]]), u16::from_le_bytes([b[2], b[3]]))
        })
        .map(PrimitiveValue::Tags),
        VR::SQ => return None,
        VR::LT | VR::ST | VR::UR | VR::UT => {
            Some(PrimitiveValue::Strs(C::from_elem(padded_text(&bytes)?.to_owned(), 1)))
        }
        VR::AE | VR::AS | VR::CS | VR::DA | VR::DS | VR::DT | VR::IS | VR::LO => {
            Some(split_text(&bytes)?)
        }
        VR::PN | VR::SH | VR::TM | VR::UC | VR::UI => Some(split_text(&bytes)?),
    };
    // Bytes that are no whole number of cells stay bytes; their reader knows what to make of them.
    Some(value.unwrap_or_else(|| PrimitiveValue::U8(bytes.into())))
}

/// One number or one piece of text. Text in which a backslash separates values is several.
enum Scalar<'a> {
    Number(&'a Number),
    Text(&'a str),
}

/// Numbers and tags. Nulls are left out: where the position matters (LUT Descriptor), the count
/// then tells that one is missing.
fn scalars<T>(values: &[Value], read: impl Fn(Scalar<'_>) -> Option<T>) -> Option<C<T>> {
    let mut all = C::new();
    for value in values {
        match value {
            Value::Null => {}
            Value::Number(number) => all.push(read(Scalar::Number(number))?),
            Value::String(text) => {
                for piece in text.split('\\').map(str::trim).filter(|piece| !piece.is_empty()) {
                    all.push(read(Scalar::Text(piece))?);
                }
            }
            Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
        }
    }
    Some(all)
}

macro_rules! integers {
    ($($name:ident: $type:ty => $variant:ident),+ $(,)?) => {$(
        fn $name(vr: VR, values: &[Value]) -> Option<(VR, PrimitiveValue)> {
            let read = |scalar: Scalar<'_>| <$type>::try_from(integer(scalar)?).ok();
            Some((vr, PrimitiveValue::$variant(scalars(values, read)?)))
        }
    )+};
}

integers! {
    bytes: u8 => U8, u16s: u16 => U16, i16s: i16 => I16, u32s: u32 => U32, i32s: i32 => I32,
    u64s: u64 => U64, i64s: i64 => I64,
}

/// A whole number; `3.0` is one.
fn integer(scalar: Scalar<'_>) -> Option<i128> {
    let float = match scalar {
        Scalar::Number(number) => {
            if let Some(whole) = number.as_i128() {
                return Some(whole);
            }
            number.as_f64()?
        }
        Scalar::Text(text) => {
            if let Ok(whole) = text.parse() {
                return Some(whole);
            }
            text.parse::<f64>().ok()?
        }
    };
    // Beyond 2⁵³ a float no longer tells one whole number from the next.
    (float.fract() == 0.0 && float.abs() <= 9_007_199_254_740_992.0).then_some(float as i128)
}

/// A real number; `NaN`, `Infinity` and `-Infinity` come as text (PS3.18 Table F.2.3-1).
fn float(scalar: Scalar<'_>) -> Option<f64> {
    match scalar {
        Scalar::Number(number) => number.as_f64(),
        Scalar::Text(text) => text.parse().ok(),
    }
}

/// `00280010`, also `0028,0010` in parentheses or without.
fn tag(scalar: Scalar<'_>) -> Option<Tag> {
    match scalar {
        Scalar::Number(number) => {
            let number = u32::try_from(number.as_u64()?).ok()?;
            Some(Tag((number >> 16) as u16, number as u16))
        }
        // dicom-core cuts the text at byte positions.
        Scalar::Text(text) if text.is_ascii() => text.parse().ok(),
        Scalar::Text(_) => None,
    }
}

fn joined(vr: VR, values: &[Value]) -> Option<(VR, PrimitiveValue)> {
    Some((vr, texts(values, Some('\\'), string)?))
}

/// Strings. Nulls become empty ones, so that the others keep their places. `separator` splits what
/// an archive joined.
fn texts(
    values: &[Value],
    separator: Option<char>,
    read: fn(&Value) -> Option<String>,
) -> Option<PrimitiveValue> {
    let mut all = C::new();
    for value in values {
        match (value, separator) {
            (Value::String(text), Some(separator)) if text.contains(separator) => {
                let pieces = text.split(separator).map(|piece| read(&Value::from(piece)));
                for piece in pieces {
                    all.push(piece?);
                }
            }
            _ => all.push(read(value)?),
        }
    }
    Some(PrimitiveValue::Strs(all))
}

fn string(value: &Value) -> Option<String> {
    match value {
        Value::Null => Some(String::new()),
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Object(name) => person_name(name),
        Value::Array(_) => None,
    }
}

/// As [`string`], whole numbers without a fraction: IS has no point (PS3.5 §6.2).
fn integer_string(value: &Value) -> Option<String> {
    let whole = match value {
        Value::Number(number) => integer(Scalar::Number(number)),
        Value::String(text) => integer(Scalar::Text(text.trim())),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    whole.map(|whole| whole.to_string()).or_else(|| string(value))
}

/// The component groups, separated by `=` (PS3.5 §6.2.1.2).
fn person_name(name: &Map<String, Value>) -> Option<String> {
    let groups = ["Alphabetic", "Ideographic", "Phonetic"].map(|group| name.get(group));
    if groups.iter().all(Option::is_none) && !name.is_empty() {
        return None;
    }
    let groups = groups.map(|group| group.and_then(Value::as_str).unwrap_or_default());
    Some(groups.join("=").trim_end_matches('=').to_owned())
}

/// The value of an attribute that neither the archive nor the dictionary knows.
fn unknown(values: &[Value]) -> Option<(VR, PrimitiveValue)> {
    if values.iter().all(|value| value.is_number() || value.is_null()) {
        return bytes(VR::UN, values)
            .or_else(|| Some((VR::UN, PrimitiveValue::F64(scalars(values, float)?))));
    }
    Some((VR::UN, texts(values, None, string)?))
}

fn cells<T, const N: usize>(bytes: &[u8], read: impl Fn([u8; N]) -> T) -> Option<C<T>> {
    let (cells, rest) = bytes.as_chunks::<N>();
    rest.is_empty().then(|| cells.iter().map(|cell| read(*cell)).collect())
}

fn split_text(bytes: &[u8]) -> Option<PrimitiveValue> {
    Some(PrimitiveValue::Strs(padded_text(bytes)?.split('\\').map(str::to_owned).collect()))
}

fn padded_text(bytes: &[u8]) -> Option<&str> {
    Some(std::str::from_utf8(bytes).ok()?.trim_end_matches(['\0', ' ']))
}
