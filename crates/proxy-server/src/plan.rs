//! What was said → what is meant: the only place that chooses defaults.

use core_render::{Annotation, Framing, Output, Overlays, Quality, RenderSpec, Viewport};
use dicomweb_types::MediaType;

use crate::config::{BasePath, Config};
use crate::params::RenderParams;
use crate::route::{Kind, Resource};

/// One picture, all of it decided.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Plan {
    pub(crate) resource: Resource,
    pub(crate) spec: RenderSpec,
}

/// A picture that is not drawn, whatever the image is.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum PlanError {
    #[error("query parameter viewport: more than {limit} pixels")]
    ViewportTooLarge { limit: u64 },
}

impl Plan {
    /// # Errors
    /// A viewport above the configured size: 400 (R2.7 g), before anything is fetched.
    pub(crate) fn new(
        resource: Resource,
        params: &RenderParams,
        media_type: MediaType,
        config: &Config,
    ) -> Result<Self, PlanError> {
        let limit = config.max_output_pixels;
        if params.viewport.is_some_and(|v| pixels(&v) > limit) {
            return Err(PlanError::ViewportTooLarge { limit });
        }
        let (framing, quality, overlays) = match resource.kind {
            Kind::Rendered => (Framing::Native, Quality::RENDERED, config.overlays),
            // Overlays may spell out who the patient is, which a thumbnail must not (R1.10).
            Kind::Thumbnail => {
                (Framing::FitWithin(config.thumbnail_size), Quality::THUMBNAIL, Overlays::Omit)
            }
        };
        let spec = RenderSpec {
            window: params.window,
            framing: params.viewport.map_or(framing, Framing::Viewport),
            output: match media_type {
                MediaType::Jpeg => Output::Jpeg(params.quality.unwrap_or(quality)),
                // R2.6: a quality is legal for PNG, where it has nothing to decide.
                MediaType::Png => Output::Png,
                MediaType::Gif => Output::Gif,
                MediaType::WebP => Output::WebP(params.quality.unwrap_or(quality)),
                MediaType::Jp2 => Output::Jp2(params.quality.unwrap_or(quality)),
            },
            overlays,
            annotation: Annotation::default(),
            icc_profile: None,
        };
        Ok(Self { resource, spec })
    }

    /// The resource that the picture was rendered from (R1.7), as a path on this server.
    pub(crate) fn content_location(&self, base: &BasePath) -> String {
        let Resource { instance, frame, .. } = &self.resource;
        let base = base.as_str();
        match frame {
            None => format!("{base}/{instance}"),
            Some(frame) => format!("{base}/{instance}/frames/{frame}"),
        }
    }
}

fn pixels(viewport: &Viewport) -> u64 {
    u64::from(viewport.width.get()) * u64::from(viewport.height.get())
}

#[cfg(test)]
mod tests {
    use dicomweb_types::FrameNumber;

    use super::*;

    fn plan(kind: Kind, frame: Option<FrameNumber>, query: &str, media_type: MediaType) -> Plan {
        let instance = dicomweb_types::InstancePath {
            study: "1".parse().unwrap(),
            series: "2".parse().unwrap(),
            instance: "3".parse().unwrap(),
        };
        let params = RenderParams::parse(query, kind).unwrap();
        Plan::new(Resource { kind, instance, frame }, &params, media_type, &Config::default())
            .unwrap()
    }

    #[test]
    fn a_rendered_picture_is_the_image_as_it_is() {
        let plan = plan(Kind::Rendered, None, "", MediaType::Jpeg);
        assert_eq!(plan.spec.framing, Framing::Native);
        assert_eq!(plan.spec.output, Output::Jpeg("90".parse().unwrap()));
        assert_eq!((plan.spec.window, plan.spec.overlays), (None, Overlays::Draw));
    }

    #[test]
    fn a_thumbnail_is_small_and_without_overlays() {
        let plan = plan(Kind::Thumbnail, None, "", MediaType::Jpeg);
        assert_eq!(plan.spec.framing, Framing::FitWithin(256.try_into().unwrap()));
        assert_eq!(plan.spec.output, Output::Jpeg("80".parse().unwrap()));
        assert_eq!(plan.spec.overlays, Overlays::Omit);
    }

    #[test]
    fn what_was_said_replaces_the_defaults() {
        let query = "viewport=64,32&window=1,2,linear&quality=7";
        for kind in [Kind::Rendered, Kind::Thumbnail] {
            let plan = plan(kind, None, query, MediaType::Jpeg);
            assert_eq!(plan.spec.framing, Framing::Viewport("64,32".parse().unwrap()));
            assert_eq!(plan.spec.window, Some("1,2,linear".parse().unwrap()));
            assert_eq!(plan.spec.output, Output::Jpeg("7".parse().unwrap()));
        }
        assert_eq!(plan(Kind::Rendered, None, query, MediaType::Png).spec.output, Output::Png);
    }

    #[test]
    fn the_location_is_what_was_rendered_from() {
        let base = "/dicom-web".parse().unwrap();
        let location =
            |frame| plan(Kind::Thumbnail, frame, "", MediaType::Png).content_location(&base);
        assert_eq!(location(None), "/dicom-web/studies/1/series/2/instances/3");
        assert_eq!(
            location(FrameNumber::new(7)),
            "/dicom-web/studies/1/series/2/instances/3/frames/7"
        );
    }

    #[test]
    fn viewports_have_a_largest_size() {
        let instance = plan(Kind::Rendered, None, "", MediaType::Jpeg).resource;
        let made = |query| {
            let params = RenderParams::parse(query, Kind::Rendered).unwrap();
            Plan::new(instance.clone(), &params, MediaType::Png, &Config::default()).is_ok()
        };
        assert!(made("viewport=100000,100"));
        assert!(!made("viewport=100000,100000"));
        assert!(!made("viewport=4294967295,4294967295"));
    }
}
