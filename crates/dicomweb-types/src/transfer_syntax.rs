//! Transfer syntaxes: what the bytes of a data set and of its frames are (PS3.5 §10, PS3.6 A-1).

use serde::{Deserialize, Serialize};

macro_rules! transfer_syntaxes {
    ($($(#[$doc:meta])* $name:ident = $uid:literal),+ $(,)?) => {
        /// A transfer syntax. One that is not known is kept as [`TransferSyntax::Other`], never
        /// replaced by a default.
        #[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
        #[serde(from = "String", into = "String")]
        pub enum TransferSyntax {
            $($(#[$doc])* $name,)+
            /// Any other UID: video of some profile, private, or retired.
            Other(String),
        }

        impl TransferSyntax {
            /// The syntax of this UID; trailing NULs and spaces, as files pad them, are ignored.
            pub fn from_uid(uid: &str) -> Self {
                match uid.trim_end_matches(['\0', ' ']) {
                    $($uid => Self::$name,)+
                    other => Self::Other(other.to_owned()),
                }
            }

            /// The UID.
            pub fn uid(&self) -> &str {
                match self {
                    $(Self::$name => $uid,)+
                    Self::Other(uid) => uid,
                }
            }
        }
    };
}

transfer_syntaxes! {
    /// Implicit VR Little Endian.
    ImplicitLittleEndian = "1.2.840.10008.1.2",
    /// Explicit VR Little Endian.
    ExplicitLittleEndian = "1.2.840.10008.1.2.1",
    /// Encapsulated Uncompressed Explicit VR Little Endian.
    EncapsulatedUncompressed = "1.2.840.10008.1.2.1.98",
    /// Deflated Explicit VR Little Endian: the whole data set is one RFC 1951 stream.
    DeflatedExplicitLittleEndian = "1.2.840.10008.1.2.1.99",
    /// Explicit VR Big Endian (retired).
    ExplicitBigEndian = "1.2.840.10008.1.2.2",
    /// Deflated Image Frame Compression: each frame is one RFC 1951 stream.
    DeflatedImageFrame = "1.2.840.10008.1.2.8.1",
    /// RLE Lossless.
    RleLossless = "1.2.840.10008.1.2.5",
    /// JPEG Baseline (Process 1).
    JpegBaseline = "1.2.840.10008.1.2.4.50",
    /// JPEG Extended (Processes 2 and 4), 8 or 12 bit.
    JpegExtended = "1.2.840.10008.1.2.4.51",
    /// JPEG Lossless (Process 14).
    JpegLossless = "1.2.840.10008.1.2.4.57",
    /// JPEG Lossless, first-order prediction (Process 14, Selection Value 1).
    JpegLosslessSv1 = "1.2.840.10008.1.2.4.70",
    /// JPEG-LS Lossless.
    JpegLsLossless = "1.2.840.10008.1.2.4.80",
    /// JPEG-LS Near-Lossless.
    JpegLsNearLossless = "1.2.840.10008.1.2.4.81",
    /// JPEG 2000, lossless only.
    Jpeg2000Lossless = "1.2.840.10008.1.2.4.90",
    /// JPEG 2000.
    Jpeg2000 = "1.2.840.10008.1.2.4.91",
    /// High-Throughput JPEG 2000, lossless only.
    Htj2kLossless = "1.2.840.10008.1.2.4.201",
    /// High-Throughput JPEG 2000 with RPCL options, lossless only.
    Htj2kLosslessRpcl = "1.2.840.10008.1.2.4.202",
    /// High-Throughput JPEG 2000.
    Htj2k = "1.2.840.10008.1.2.4.203",
    /// JPEG XL Lossless.
    JpegXlLossless = "1.2.840.10008.1.2.4.110",
    /// JPEG XL JPEG Recompression.
    JpegXlRecompression = "1.2.840.10008.1.2.4.111",
    /// JPEG XL.
    JpegXl = "1.2.840.10008.1.2.4.112",
}

impl TransferSyntax {
    /// Whether the pixel data are fragments in items (PS3.5 A.4) rather than one native value.
    ///
    /// An unknown syntax counts as encapsulated: those outside the native family all are.
    pub fn is_encapsulated(&self) -> bool {
        !matches!(
            self,
            Self::ImplicitLittleEndian
                | Self::ExplicitLittleEndian
                | Self::DeflatedExplicitLittleEndian
                | Self::ExplicitBigEndian
        )
    }

    /// Whether this is MPEG-2, H.264 or HEVC: one stream for all frames (PS3.5 §8.2.5 to 8.2.8).
    pub fn is_video(&self) -> bool {
        let Self::Other(uid) = self else { return false };
        let Some(rest) = uid.strip_prefix("1.2.840.10008.1.2.4.") else { return false };
        let number = rest.strip_suffix(".1").unwrap_or(rest);
        number.parse::<u16>().is_ok_and(|n| (100..=108).contains(&n))
    }
}

impl From<String> for TransferSyntax {
    fn from(uid: String) -> Self {
        Self::from_uid(&uid)
    }
}

impl From<TransferSyntax> for String {
    fn from(syntax: TransferSyntax) -> Self {
        syntax.uid().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_of_the_uid_is_ignored() {
        assert_eq!(TransferSyntax::from_uid("1.2.840.10008.1.2.5\0"), TransferSyntax::RleLossless);
    }

    #[test]
    fn unknown_uids_are_kept() {
        let private = TransferSyntax::from_uid("1.2.840.113619.5.2");
        assert_eq!(private.uid(), "1.2.840.113619.5.2");
        assert!(!private.is_video());
    }

    #[test]
    fn video_profiles_are_recognised_fragmentable_ones_too() {
        for uid in
            ["1.2.840.10008.1.2.4.100", "1.2.840.10008.1.2.4.102.1", "1.2.840.10008.1.2.4.108"]
        {
            assert!(TransferSyntax::from_uid(uid).is_video(), "{uid}");
        }
        for uid in ["1.2.840.10008.1.2.4.110", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.1000"]
        {
            assert!(!TransferSyntax::from_uid(uid).is_video(), "{uid}");
        }
    }

    #[test]
    fn only_the_native_family_is_not_encapsulated() {
        assert!(!TransferSyntax::DeflatedExplicitLittleEndian.is_encapsulated());
        assert!(TransferSyntax::EncapsulatedUncompressed.is_encapsulated());
    }
}
