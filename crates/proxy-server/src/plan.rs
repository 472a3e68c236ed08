//! What was said → what is meant: the only place that chooses defaults.

use std::num::NonZeroU32;

use core_render::{
    BurnedIn, Framing, IccProfile, Output, Overlays, Quality, RenderSpec, SourceRect, Viewport,
};
use dicomweb_types::{FrameNumber, InstancePath, MediaType};

use crate::config::{BasePath, Config};
use crate::params::{ParamError, RenderParams};
use crate::route::{Kind, Scope};

/// A request that cannot be met, whatever the image is.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum PlanError {
    #[error("query parameter viewport: more than {limit} pixels")]
    ViewportTooLarge { limit: u64 },
    #[error(transparent)]
    Parameter(#[from] ParamError),
}

/// What is wrong with the parameters, before anything is fetched.
///
/// # Errors
/// A viewport above the configured size: 400 (R2.7 g).
pub(crate) fn check(params: &RenderParams, config: &Config) -> Result<(), PlanError> {
    let limit = config.max_output_pixels;
    if params.viewport.is_some_and(|v| pixels(&v) > limit) {
        return Err(PlanError::ViewportTooLarge { limit });
    }
    Ok(())
}

/// How a picture of this kind is drawn.
///
/// # Errors
/// A profile for a type that holds none: 400 (R2.9).
pub(crate) fn spec(
    kind: Kind,
    params: &RenderParams,
    media_type: MediaType,
    config: &Config,
) -> Result<RenderSpec, PlanError> {
    let embeds = params.icc_profile.is_some_and(|profile| profile != IccProfile::No);
    if media_type == MediaType::Gif && embeds {
        return Err(ParamError::PROFILE_OF_GIF.into());
    }
    let (quality, overlays, burned_in) = match kind {
        Kind::Rendered => (Quality::RENDERED, config.overlays, BurnedIn::Render),
        // Overlays may spell out who the patient is, which a thumbnail must not (R1.10), and so may pixels
        // (R1.11).
        Kind::Thumbnail => (Quality::THUMBNAIL, Overlays::Omit, config.burned_in),
    };
    let quality = params.quality.unwrap_or(quality);
    let output = match media_type {
        MediaType::Jpeg => Output::Jpeg(quality),
        // R2.6: a quality is legal for what has nothing to decide by it.
        MediaType::Png => Output::Png,
        MediaType::Gif => Output::Gif,
        MediaType::WebP => Output::WebP(quality),
        MediaType::Jp2 => Output::Jp2(quality),
    };
    Ok(RenderSpec {
        window: params.window,
        overlays,
        annotation: params.annotation.as_ref().map(|a| a.annotation).unwrap_or_default(),
        // `no` is what is done where nothing is said.
        icc_profile: params.icc_profile.filter(|profile| *profile != IccProfile::No),
        corner_label: kind == Kind::Thumbnail && config.thumbnail_label,
        burned_in,
        ..RenderSpec::new(framing(kind, params, config), output)
    })
}

/// Which part of an image is shown, and how large.
pub(crate) fn framing(kind: Kind, params: &RenderParams, config: &Config) -> Framing {
    match (params.viewport, kind) {
        (Some(viewport), _) => Framing::Viewport(viewport),
        (None, Kind::Rendered) => Framing::Native,
        (None, Kind::Thumbnail) => Framing::FitWithin(config.thumbnail_size),
    }
}

/// A small picture, as others are compared with it. Nobody sees it.
pub(crate) fn for_contrast() -> RenderSpec {
    const SIDE: NonZeroU32 = NonZeroU32::new(64).unwrap();
    RenderSpec {
        overlays: Overlays::Omit,
        ..RenderSpec::new(Framing::FitWithin(SIDE), Output::Png)
    }
}

/// R2.11: what a presentation state decides is not to be asked for.
///
/// # Errors
/// A window, or a region in the viewport: 400.
pub(crate) fn check_for_state(params: &RenderParams) -> Result<(), ParamError> {
    if params.window.is_some() {
        return Err(ParamError::WINDOW_OF_STATE);
    }
    if params.viewport.is_some_and(|viewport| viewport.source != SourceRect::WHOLE) {
        return Err(ParamError::REGION_OF_STATE);
    }
    Ok(())
}

/// The resource that a picture was rendered from (R1.7), as a path on this server.
pub(crate) fn content_location(
    base: &BasePath,
    instance: &InstancePath,
    frame: Option<FrameNumber>,
) -> String {
    let base = base.as_str();
    match frame {
        None => format!("{base}/{instance}"),
        Some(frame) => format!("{base}/{instance}/frames/{frame}"),
    }
}

/// The resource that was asked about, as a path on this server.
pub(crate) fn scope_location(base: &BasePath, scope: &Scope) -> String {
    match scope {
        Scope::Study(study) => format!("{}/studies/{study}", base.as_str()),
        Scope::Series(series) => format!("{}/{series}", base.as_str()),
        Scope::Instance(instance) | Scope::Frames(instance, _) => {
            content_location(base, instance, None)
        }
    }
}

fn pixels(viewport: &Viewport) -> u64 {
    u64::from(viewport.width.get()) * u64::from(viewport.height.get())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec_of(kind: Kind, query: &str, media_type: MediaType) -> RenderSpec {
        let params = RenderParams::parse(query, kind, false).unwrap();
        spec(kind, &params, media_type, &Config::default()).unwrap()
    }

    #[test]
    fn a_rendered_picture_is_the_image_as_it_is() {
        let spec = spec_of(Kind::Rendered, "", MediaType::Jpeg);
        assert_eq!(spec.framing, Framing::Native);
        assert_eq!(spec.output, Output::Jpeg("90".parse().unwrap()));
        assert_eq!((spec.window, spec.overlays), (None, Overlays::Draw));
        assert_eq!((spec.annotation, spec.icc_profile), Default::default());
        assert_eq!(spec.burned_in, BurnedIn::Render);
    }

    #[test]
    fn a_thumbnail_is_small_and_without_overlays_and_annotation() {
        let spec = spec_of(Kind::Thumbnail, "annotation=patient", MediaType::Jpeg);
        assert_eq!(spec.framing, Framing::FitWithin(256.try_into().unwrap()));
        assert_eq!(spec.output, Output::Jpeg("80".parse().unwrap()));
        assert_eq!((spec.overlays, spec.annotation), (Overlays::Omit, Default::default()));
        assert_eq!(spec.burned_in, BurnedIn::Pixelate);
    }

    #[test]
    fn what_was_said_replaces_the_defaults() {
        let query = "viewport=64,32&window=1,2,linear&quality=7&iccprofile=srgb";
        for kind in [Kind::Rendered, Kind::Thumbnail] {
            let spec = spec_of(kind, query, MediaType::Jpeg);
            assert_eq!(spec.framing, Framing::Viewport("64,32".parse().unwrap()));
            assert_eq!(spec.window, Some("1,2,linear".parse().unwrap()));
            assert_eq!(spec.output, Output::Jpeg("7".parse().unwrap()));
            assert_eq!(spec.icc_profile, Some(IccProfile::Srgb));
        }
        assert_eq!(spec_of(Kind::Rendered, query, MediaType::Png).output, Output::Png);
        let webp = spec_of(Kind::Rendered, query, MediaType::WebP).output;
        assert_eq!(webp, Output::WebP("7".parse().unwrap()));
    }

    #[test]
    fn a_gif_holds_no_profile() {
        let made = |query| {
            let params = RenderParams::parse(query, Kind::Rendered, false).unwrap();
            spec(Kind::Rendered, &params, MediaType::Gif, &Config::default()).is_ok()
        };
        assert!(made("") && made("iccprofile=no"));
        assert!(!made("iccprofile=yes") && !made("iccprofile=srgb"));
    }

    #[test]
    fn the_location_is_what_was_rendered_from() {
        let base = "/dicom-web".parse().unwrap();
        let instance = InstancePath {
            study: "1".parse().unwrap(),
            series: "2".parse().unwrap(),
            instance: "3".parse().unwrap(),
        };
        assert_eq!(
            content_location(&base, &instance, None),
            "/dicom-web/studies/1/series/2/instances/3"
        );
        assert_eq!(
            content_location(&base, &instance, FrameNumber::new(7)),
            "/dicom-web/studies/1/series/2/instances/3/frames/7"
        );
    }

    #[test]
    fn viewports_have_a_largest_size() {
        let checked = |query| {
            let params = RenderParams::parse(query, Kind::Rendered, false).unwrap();
            check(&params, &Config::default()).is_ok()
        };
        assert!(checked("viewport=100000,100"));
        assert!(!checked("viewport=100000,100000"));
        assert!(!checked("viewport=4294967295,4294967295"));
    }

    #[test]
    fn a_state_decides_window_and_region_itself() {
        let checked = |query| {
            let params = RenderParams::parse(query, Kind::Rendered, false).unwrap();
            check_for_state(&params).is_ok()
        };
        assert!(checked("") && checked("viewport=10,10&quality=5"));
        assert!(!checked("window=1,2,linear") && !checked("viewport=10,10,1,1,5,5"));
    }
}
