"""Objects as annotation tools write them (COCO, LabelMe, CVAT, QuPath, VIA): polygons and run lengths become masks."""
