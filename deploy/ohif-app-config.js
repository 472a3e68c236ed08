// OHIF 3.11 and newer, with everything from Lightbox at http://localhost:8080.
window.config = {
  routerBasename: '/',
  extensions: [],
  modes: [],
  showStudyList: true,
  defaultDataSourceName: 'lightbox',
  dataSources: [
    {
      namespace: '@ohif/extension-default.dataSourcesModule.dicomweb',
      sourceName: 'lightbox',
      configuration: {
        friendlyName: 'Orthanc through Lightbox',
        name: 'lightbox',
        qidoRoot: 'http://localhost:8080',
        wadoRoot: 'http://localhost:8080',
        wadoUriRoot: 'http://localhost:8080',
        qidoSupportsIncludeField: false,
        supportsReject: false,
        supportsFuzzyMatching: false,
        supportsWildcard: true,
        enableStudyLazyLoad: true,
        imageRendering: 'wadors',
        thumbnailRendering: 'thumbnail',
        thumbnailRequestStrategy: 'fetch',
        bulkDataURI: { enabled: true },
      },
    },
  ],
};
